// Curves of the channel that is picked, with a line at the time that the scene shows.
(async () => {
  "use strict";
  const data = JSON.parse(document.getElementById("bige-curves").textContent);
  const packed = Uint8Array.from(atob(data.values), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const levels = new Uint8Array(await new Response(stream).arrayBuffer());
  const total = data.frames.reduce((a, b) => a + b, 0);
  const longest = Math.max(...data.frames) - 1;
  const W = 1000, H = 300;
  const colour = (i) => `hsl(${(210 + 137.5 * i) % 360} 65% 42%)`;
  const make = (tag, props = {}, parent = null, space = null) => {
    const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [k, v] of Object.entries(props)) k in node && !space ? (node[k] = v) : node.setAttribute(k, v);
    if (parent) parent.append(node);
    return node;
  };
  const SVG = "http://www.w3.org/2000/svg";
  const panel = make("details", { id: "bige-panel", open: innerWidth > 700 });
  make("summary", { textContent: "Curves" }, panel);
  const scale = make("div", {}, panel);
  scale.append("Muscles: rest", make("span", { id: "bige-scale" }), "full activation");
  const pick = make("select", { ariaLabel: "Muscle, joint, moment or force" }, panel);
  const kinds = { muscle: "Muscles", joint: "Joints", moment: "Joint moments", force: "Ground forces" };
  for (const [kind, label] of Object.entries(kinds)) {
    const group = make("optgroup", { label });
    data.channels.forEach((c, i) => c.kind === kind && make("option", { value: i, textContent: c.name }, group));
    if (group.children.length) pick.append(group);
  }
  const now = make("span", {}, panel);
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img" }, panel, SVG);
  const range = make("div", {}, panel);
  const key = make("ul", { className: "key" }, panel);
  document.body.append(panel);

  const at = (channel, take, frame) => {
    const before = data.frames.slice(0, take).reduce((a, b) => a + b, 0);
    return levels[channel * total + before + Math.min(frame, data.frames[take] - 1)];
  };
  let cursor = null, entries = [], shown = -1;
  const draw = () => {
    const c = +pick.value, about = data.channels[c];
    svg.replaceChildren(); key.replaceChildren(); entries = []; shown = -1;
    svg.setAttribute("aria-label", `${about.name} over time`);
    range.textContent = `${about.low.toPrecision(3)} to ${about.high.toPrecision(3)} ${about.unit}, ` +
      `0 to ${(longest / data.rate).toFixed(1)} s`;
    data.titles.forEach((title, take) => {
      if (about.lacking.includes(take)) return;
      let path = "";
      for (let k = 0; k < data.frames[take]; k++)
        path += `${k ? "L" : "M"}${((k / longest) * W).toFixed(1)} ${(H - 6 - (at(c, take, k) / 255) * (H - 12)).toFixed(1)}`;
      make("path", { d: path, stroke: colour(take) }, svg, SVG);
      const entry = make("li", {}, key);
      make("b", {}, entry).style.background = colour(take);
      entry.append(title, " ", make("span"));
      entries.push([take, entry.lastChild]);
    });
    cursor = make("path", { stroke: "#333" }, svg, SVG);
  };
  const follow = () => {
    requestAnimationFrame(follow);
    const slider = document.querySelector('#root [role="slider"]');
    if (!slider || !cursor) return;
    const frame = Math.min(longest, Math.max(0, Math.round(+slider.getAttribute("aria-valuenow") * data.rate)));
    if (frame === shown) return;
    shown = frame;
    const x = (frame / longest) * W, about = data.channels[+pick.value];
    cursor.setAttribute("d", `M${x} 0L${x} ${H}`);
    now.textContent = `${(frame / data.rate).toFixed(2)} s`;
    for (const [take, node] of entries) {
      const value = about.low + (at(+pick.value, take, frame) / 255) * (about.high - about.low);
      node.textContent = value.toFixed(about.high - about.low > 20 ? 0 : 2);
    }
  };
  pick.addEventListener("change", draw);
  draw();
  follow();
})();
