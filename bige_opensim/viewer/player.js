// The clock, the controls, the camera, titles, and the curves beside the scene.
(async () => {
  if (!gl) return;
  const data = await arrays();
  const bodies = program(BODY_VERTEX, BODY_FRAGMENT), tubes = program(TUBE_VERTEX, TUBE_FRAGMENT);
  const persons = About.persons.map((_, i) => new Person(data, i));
  const takes = About.takes.map((_, i) => new Take(data, i, persons));
  const ball = surface(data["ball"], data["ball_faces"], new Uint8Array(data["ball"].length / 3).fill(About.bodies));
  const longest = Math.max(...About.takes.map((t) => t.frames)) - 1, rate = About.rate;
  const state = { time: 0, playing: true, speed: 1, overlaid: About.overlaid, frames: 0, drawn: -1, dirty: true, fineness: 1 };
  window.bigeView = state;

  const titles = takes.map((take) => {
    const node = document.createElement("div");
    node.className = "title";
    node.textContent = take.about.verdict ? `${take.about.title}: ${take.about.verdict}` : take.about.title;
    $("titles-layer").append(node);
    return node;
  });
  const offsetOf = (i) => (state.overlaid ? [0, 0, 0] : About.takes[i].offset);
  const seen = () => takes.map((_, i) => i).filter((i) => $("which").value === "all" || +$("which").value === i);
  let ground = null;
  const arrange = () => {
    const at = seen().map(offsetOf), range = (k) => [Math.min(...at.map((o) => o[k])), Math.max(...at.map((o) => o[k]))];
    const [x0, x1] = range(0), [z0, z1] = range(2);
    camera.target = [(x0 + x1) / 2, 0.92, (z0 + z1) / 2];
    camera.away = 3.3 + 0.75 * (z1 - z0) + 0.35 * (x1 - x0);
    const low = [Math.floor(x0 - 1), Math.floor(z0 - 1)], high = [Math.ceil(x1 + 1), Math.ceil(z1 + 1)], lines = [];
    for (let x = low[0]; x <= high[0]; x += 0.5) lines.push([[x, 0, low[1]], [x, 0, high[1]]]);
    for (let z = low[1]; z <= high[1]; z += 0.5) lines.push([[low[0], 0, z], [high[0], 0, z]]);
    ground = new Tubes(lines.length);
    lines.forEach(([a, b], s) => ground.set(s, a, About.bodies, b, About.bodies, 0.003, 0.003, [0.8, 0.81, 0.83]));
    ground.send();
    state.dirty = true;
  };

  const draw = () => {
    const scale = Math.min(devicePixelRatio, 2) * (state.playing ? state.fineness : 1);
    const w = Math.round(canvas.clientWidth * scale), h = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const eye = eyeOf(), view = viewOf(eye, w / h), on = seen();
    gl.viewport(0, 0, w, h);
    gl.clearColor(1, 1, 1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.disable(gl.CULL_FACE);
    gl.useProgram(tubes.made);
    gl.uniformMatrix4fv(tubes.uniform.view, false, view);
    gl.uniform3fv(tubes.uniform.eye, eye);
    gl.uniform4fv(tubes.uniform.poses, takes[0].poses);
    gl.uniform3fv(tubes.uniform.offset, [0, 0, 0]);
    ground.draw();
    for (const i of on) {
      gl.uniform4fv(tubes.uniform.poses, takes[i].poses);
      gl.uniform3fv(tubes.uniform.offset, offsetOf(i));
      if ($("muscles").checked) takes[i].muscles.draw();
      takes[i].lines.draw(takes[i].used);
    }
    gl.useProgram(bodies.made);
    gl.uniformMatrix4fv(bodies.uniform.view, false, view);
    gl.enable(gl.CULL_FACE);
    const surfaces = (part, colour) => {
      for (const i of on) {
        gl.uniform4fv(bodies.uniform.poses, takes[i].poses);
        gl.uniform3fv(bodies.uniform.offset, offsetOf(i));
        gl.uniform4fv(bodies.uniform.colour, colour(i));
        gl.bindVertexArray(takes[i].person[part].array);
        gl.drawElements(gl.TRIANGLES, takes[i].person[part].indices, gl.UNSIGNED_INT, 0);
      }
    };
    if ($("bones").checked) surfaces("bones", () => [0.9, 0.86, 0.78, 1]);
    if ($("balance").checked) {
      gl.uniform4fv(bodies.uniform.colour, [0.98, 0.75, 0.12, 1]);
      gl.bindVertexArray(ball.array);
      for (const i of on) {
        gl.uniform3fv(bodies.uniform.offset, offsetOf(i).map((o, k) => o + takes[i].com3[k]));
        gl.drawElements(gl.TRIANGLES, ball.indices, gl.UNSIGNED_INT, 0);
      }
    }
    if ($("skin").checked) {
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
      gl.depthMask(false);
      surfaces("skin", (i) => [...About.skins[state.overlaid ? i % About.skins.length : 0].map((c) => c / 255), 0.3]);
      gl.depthMask(true);
    }
    if (!state.dirty) return; // titles stand still while the camera does
    takes.forEach((take, i) => {
      const o = offsetOf(i), raised = state.overlaid ? 0.14 * i : 0;
      const p = [o[0], take.about.top + raised, o[2], 1];
      const [x, y, , q] = [0, 1, 2, 3].map((r) => p.reduce((sum, v, c) => sum + v * view[4 * c + r], 0));
      const on_screen = q > 0 && on.includes(i) && $("titles").checked;
      titles[i].style.display = on_screen ? "" : "none";
      titles[i].style.transform = `translate(-50%, -100%) translate(${((x / q + 1) / 2) * canvas.clientWidth}px, ${((1 - y / q) / 2) * canvas.clientHeight}px)`;
    });
  };

  let slow = 0; // slower than 25 frames a second for a while: fewer pixels while playing, all of them when it stands
  const coarser = (passed) => {
    slow = Math.min(Math.max(slow + (passed > 40 ? 1 : -1), 0), 8);
    if (slow === 8 && state.fineness > 0.5) { state.fineness -= 0.1; slow = 0; }
  };
  let before = performance.now();
  const tick = (now) => {
    requestAnimationFrame(tick);
    const passed = Math.min(Math.max(now - before, 0), 1000);
    before = now;
    if (state.playing) {
      state.time = (state.time + (state.speed * passed) / 1000) % ((longest + 1) / rate);
      coarser(passed);
    }
    const frame = Math.min(longest, Math.floor(state.time * rate + 1e-6));
    if (frame === state.drawn && !state.dirty) return;
    if (state.dirty) takes.forEach((take) => (take.shown = -1));
    for (const i of seen()) takes[i].show(frame);
    draw();
    if (frame !== state.drawn) { state.drawn = frame; state.frames++; follow(frame, now); }
    state.dirty = false;
  };

  const channel = () => About.channels[+$("channel").value];
  const colour = (i) => `hsl(${(210 + 137.5 * i) % 360} 65% 42%)`;
  const W = 1000, H = 300, starts = About.takes.map((_, i) => About.takes.slice(0, i).reduce((n, t) => n + t.frames, 0));
  const total = starts.at(-1) + About.takes.at(-1).frames;
  const level = (c, i, frame) => data["curves"][c * total + starts[i] + Math.min(frame, About.takes[i].frames - 1)] / 65535;
  const SVG = "http://www.w3.org/2000/svg";
  const path = (d, stroke) => { const p = document.createElementNS(SVG, "path"); p.setAttribute("d", d); p.setAttribute("stroke", stroke); $("plot").append(p); return p; };
  let values = [], read = -1000;
  const plot = () => {
    const c = +$("channel").value, about = channel();
    $("plot").replaceChildren(); $("key").replaceChildren(); values = [];
    $("plot").setAttribute("aria-label", `${about.name} over time`);
    $("range").textContent = `${about.low.toPrecision(3)} to ${about.high.toPrecision(3)} ${about.unit}`;
    for (const i of seen()) {
      if (about.lacking.includes(i)) continue;
      let d = "";
      for (let k = 0; k < About.takes[i].frames; k++) d += `${k ? "L" : "M"}${((k / longest) * W).toFixed(1)} ${(H - 6 - level(c, i, k) * (H - 12)).toFixed(1)}`;
      path(d, colour(i));
      const entry = document.createElement("li"), mark = document.createElement("b"), value = document.createElement("span");
      mark.style.background = colour(i);
      entry.append(mark, `${About.takes[i].title} `, value);
      $("key").append(entry);
      values.push([i, value]);
    }
    if (state.drawn >= 0) follow(state.drawn, Infinity);
  };
  const follow = (frame, now) => { // the line with every frame; figures as often as they can be read
    $("cursor").style.transform = `translateX(${(frame / longest) * $("plot").clientWidth}px)`;
    if (state.playing && now - read < 120) return;
    read = now === Infinity ? -1000 : now;
    const c = +$("channel").value, { low, high } = channel();
    $("time").value = frame;
    $("now").textContent = `${(frame / rate).toFixed(2)} s`;
    for (const [i, node] of values) node.textContent = (low + level(c, i, frame) * (high - low)).toFixed(high - low > 20 ? 0 : 2);
  };

  const play = (playing) => { state.playing = playing; state.dirty = true; $("play").textContent = playing ? "Pause" : "Play"; };
  const seek = (frame) => { play(false); state.time = frame / rate; };
  window.bigeSeek = (seconds) => seek(Math.round(seconds * rate));
  $("time").max = longest;
  $("play").onclick = () => play(!state.playing);
  $("time").oninput = () => seek(+$("time").value);
  $("speed").onchange = () => (state.speed = +$("speed").value);
  $("place").value = state.overlaid ? "overlaid" : "apart";
  $("place").onchange = () => { state.overlaid = $("place").value === "overlaid"; arrange(); };
  $("which").onchange = () => { arrange(); plot(); };
  About.takes.forEach((t, i) => $("which").append(new Option(t.title, i)));
  for (const node of document.querySelectorAll(".several")) node.hidden = takes.length < 2;
  document.querySelector(".loaded").hidden = !About.takes.some((take) => take.loaded);
  for (const node of document.querySelectorAll("#layers input")) node.onchange = () => (state.dirty = true);
  for (const [kind, label] of Object.entries(About.kinds)) {
    const group = document.createElement("optgroup");
    group.label = label;
    About.channels.forEach((c, i) => c.kind === kind && group.append(new Option(c.name, i)));
    if (group.children.length) $("channel").append(group);
  }
  $("channel").value = String(About.first);
  $("channel").onchange = plot;
  $("plot").onpointerdown = $("plot").onpointermove = (event) => {
    if (event.buttons) seek(Math.round(longest * Math.min(1, Math.max(0, event.offsetX / $("plot").clientWidth))));
  };

  const pointers = new Map();
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, [event.clientX, event.clientY]); };
  canvas.onpointerup = canvas.onpointercancel = (event) => pointers.delete(event.pointerId);
  canvas.onpointermove = (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    const [dx, dy] = [event.clientX - old[0], event.clientY - old[1]];
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.shiftKey || event.buttons & 2 || pointers.size > 1) move(dx, dy); else turn(dx, dy);
  };
  const turn = (dx, dy) => { camera.turn += 0.006 * dx; camera.lift = Math.min(1.5, Math.max(-0.2, camera.lift + 0.006 * dy)); state.dirty = true; };
  const move = (dx, dy) => {
    const step = (0.75 * camera.away) / canvas.clientHeight;
    camera.target[0] += step * dx * -Math.sin(camera.turn) * -1; camera.target[2] += step * dx * -Math.cos(camera.turn) * 1; camera.target[1] += step * dy;
    state.dirty = true;
  };
  canvas.onwheel = (event) => { event.preventDefault(); camera.away = Math.min(80, Math.max(0.6, camera.away * Math.exp(0.001 * event.deltaY))); state.dirty = true; };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onkeydown = (event) => {
    const keys = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] };
    if (keys[event.key]) { turn(...keys[event.key]); event.preventDefault(); }
  };
  document.onkeydown = (event) => { if (event.key === " " && event.target === document.body) { play(!state.playing); event.preventDefault(); } };
  new ResizeObserver(() => (state.dirty = true)).observe(canvas);

  arrange();
  plot();
  const moment = /^#t=([0-9.]+)$/.exec(location.hash); // PAGE#t=2.2 stands still there
  if (moment) window.bigeSeek(+moment[1]);
  requestAnimationFrame(tick);
})();
