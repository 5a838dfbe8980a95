// Pages come from the server; this uploads files, follows jobs, and moves an objective between sliders and text.
"use strict";

const byId = (id) => document.getElementById(id);

async function post(address, content = {}) {
  const answer = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
  const found = await answer.json().catch(() => ({ error: "The server did not answer. Is it still running?" }));
  if (!answer.ok) throw Object.assign(new Error(found.error || "The server refused this."), { found });
  return found;
}

function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}

// Buttons that do one thing, then go somewhere.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-post]");
  if (!button) return;
  button.disabled = true;
  try {
    await post(button.dataset.post);
    if (button.dataset.then === "reload") location.reload(); else location.assign(button.dataset.then);
  } catch (error) {
    button.disabled = false;
    button.after(element("span", { class: "small", role: "alert" }, ` ${error.message}`));
  }
});

// Upload.
function prepareUpload(place) {
  const said = byId("said"), most = Number(place.dataset.most);
  const send = async (files) => {
    if (!files.length) return;
    try {
      const large = files.find((file) => file.size > most);
      if (large) throw new Error(`${large.name} is too large: up to ${Math.round(most / 1e6)} MB are taken.`);
      const { person } = await post("/people", { name: files[0].name.replace(/\.[^.]*$/, "") });
      for (const [i, file] of files.entries()) {
        said.textContent = `Sending ${file.name} (${i + 1} of ${files.length})`;
        const answer = await fetch(`/people/${person}/files?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
        if (!answer.ok) {
          await post(`/people/${person}/delete`);
          throw new Error((await answer.json()).error);
        }
      }
      await post(`/people/${person}/examine`);
      location.assign(`/people/${person}`);
    } catch (error) { said.textContent = error.message; said.className = "note bad"; }
  };
  byId("files").addEventListener("change", (event) => send([...event.target.files]));
  byId("sample").addEventListener("click", async () => {
    const { person } = await post("/people", { sample: true });
    location.assign(`/people/${person}`);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) place.addEventListener(kind, (event) => {
    event.preventDefault();
    place.classList.toggle("over", kind === "dragover");
    if (kind === "drop") send([...event.dataTransfer.files]);
  });
}
if (byId("drop")) prepareUpload(byId("drop"));

// Jobs at work.
async function follow(work) {
  const part = (name) => work.querySelector(`[data-part="${name}"]`), bar = part("bar");
  let told = "";
  const tell = (text) => { if (text !== told) part("text").textContent = told = text; };
  for (;;) {
    let now;
    try {
      const answer = await fetch(`/jobs/${work.dataset.job}/state`);
      if (!answer.ok) throw new Error();
      now = await answer.json();
    } catch {
      tell("The server does not answer. This page tries again; no work is lost.");
      await new Promise((done) => setTimeout(done, 3000));
      continue;
    }
    if (!["waiting", "running"].includes(now.state)) { location.reload(); return; }
    const p = now.progress;
    if (now.state === "waiting") tell(now.before ? `waiting: ${now.before} before it` : "waiting for its turn");
    else if (!p.what) tell("starting");
    else {
      tell(`step ${p.stage} of ${p.stages}: ${p.what}`);
      const inside = p.total ? p.done / p.total : 0;
      bar.value = Math.min(1, (p.stage - 1 + inside) / p.stages);
      part("detail").textContent = p.total ? `${p.done} of ${p.total} ${p.text}` : p.text;
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}
document.querySelectorAll("[data-job]").forEach(follow);

// Objectives.
class Asking {
  constructor(place) {
    this.person = place.dataset.person;
    this.choices = JSON.parse(byId("choices").textContent);
    this.content = { name: "Objective", term: [] };
    this.asked = 0;
    document.querySelectorAll("[name=library]").forEach((radio) => radio.addEventListener("change", () => this.begin(radio.value)));
    byId("add").addEventListener("click", () => { this.content.term.push(this.fresh("depth")); this.draw(); this.check(); });
    byId("toml").addEventListener("input", () => this.soon({ toml: byId("toml").value }));
    byId("kind").addEventListener("change", () => this.kind());
    byId("start").addEventListener("click", () => this.start());
    this.kind();
    this.begin(document.querySelector("[name=library]:checked")?.value || place.dataset.first);
  }
  kind() { for (const label of document.querySelectorAll("[data-for]")) label.hidden = label.dataset.for !== byId("kind").value; }
  async begin(name) {
    byId("start").disabled = true;
    const { toml } = await (await fetch(`/objectives/${name}`)).json();
    await this.ask({ toml });
  }
  fresh(quantity) {
    const unit = Object.keys(this.choices.sliders[quantity])[0];
    const term = { quantity, at_least: this.choices.sliders[quantity][unit][3] / this.choices.units[unit][0], hard: true, weight: 1 };
    const first = quantity === "activation" ? this.choices.muscles[0][0] : "knee_angle_r";
    if (this.choices.of[quantity] === "required") term.of = [first];
    if (quantity !== "duration") term.stat = "peak";
    return term;
  }
  soon(request) {
    clearTimeout(this.timer);
    byId("start").disabled = true;
    this.say("Checking.", "");
    this.timer = setTimeout(() => this.ask(request), 400);
  }
  check() { this.soon({ content: this.content }); }
  async ask(request) {
    const number = ++this.asked;
    byId("start").disabled = true;
    this.say("Checking against this person’s model.", "");
    let found;
    try { found = await post(`/people/${this.person}/check`, request); } catch (error) { found = { ok: false, error: error.message }; }
    if (number !== this.asked) return;
    this.request = request;
    if (!found.ok) { this.say(found.error, "bad"); return; }
    const typing = document.activeElement === byId("toml");
    if (!typing) byId("toml").value = found.toml;
    const units = found.words.map((word) => word.unit), other = String(units) !== String(this.units);
    this.units = units;
    if (request.toml !== undefined) this.content = found.content;
    if (request.toml !== undefined || (other && !byId("terms").contains(document.activeElement))) this.draw();
    this.describe(found.words);
    byId("start").disabled = false;
    this.say("This can be asked of this person’s model.", "good");
  }
  say(text, kind) { byId("verdict").textContent = text; byId("verdict").className = kind; }
  describe(words) {
    document.querySelectorAll("fieldset.term").forEach((place, i) => {
      if (!words[i]) return;
      place.querySelector(".words").textContent = `${words[i].measures}: ${words[i].asks}.`;
      place.querySelector("legend").textContent = words[i].name;
    });
  }
  draw() {
    const open = [...document.querySelectorAll("fieldset.term details")].map((d) => d.open);
    byId("terms").replaceChildren(...this.content.term.map((term, i) => this.term(term, i, open[i])));
  }
  term(term, i, open = false) {
    const { quantities, stats, bounds, sliders, units, of } = this.choices;
    const unit = sliders[term.quantity][this.units?.[i]] ? this.units[i] : Object.keys(sliders[term.quantity])[0];
    const scale = { limits: sliders[term.quantity][unit], factor: units[unit][0], text: units[unit][1] };
    const usual = scale.limits[3] / scale.factor;
    const changed = (work) => (event) => { work(event.target); this.check(); };
    const redrawn = (work) => (event) => { work(event.target); this.draw(); this.check(); byId("terms").children[i]?.querySelector("select")?.focus(); };
    const select = (name, options, value, work) => element("label", {}, name, element("select", { onchange: redrawn((s) => work(s.value)) },
      ...Object.entries(options).map(([key, text]) => element("option", { value: key, selected: key === value }, text))));
    const bound = Object.keys(bounds).find((key) => term[key] !== undefined && term[key] !== false) || "at_least";
    const values = element("div", { class: "row" }, select("Should be", bounds, bound, (value) => {
      for (const key of Object.keys(bounds)) delete term[key];
      delete term.tolerance;
      const free = value === "minimise" || value === "maximise";
      term[value] = free ? true : value === "between" ? [0.8, 1.2].map((k) => Number((k * usual).toPrecision(3))) : usual;
      if (free) term.hard = false;
    }));
    if (bound === "between") for (const k of [0, 1]) values.append(this.slider(k ? "and" : "From", term.between[k], scale, (v) => { term.between[k] = v; }));
    else if (typeof term[bound] === "number") values.append(this.slider("Value", term[bound], scale, (v) => { term[bound] = v; }));
    if (typeof term[bound] !== "boolean") values.append(element("label", { class: "flag" },
      element("input", { type: "checkbox", checked: Boolean(term.hard), onchange: changed((box) => { term.hard = box.checked; }) }), "must be met"));
    const what = element("div", { class: "row" }, select("What", quantities, term.quantity, (value) => { this.content.term[i] = this.fresh(value); }));
    if (term.quantity !== "duration") what.append(select("Which value", { ...stats, at: "at one moment" }, term.at === undefined ? term.stat : "at", (value) => {
      delete term.at; delete term.stat;
      if (value === "at") term.at = 0.5; else term.stat = value;
    }));
    if (term.at !== undefined) what.append(this.slider("When", term.at, { limits: [0, 100, 1], factor: 100, text: "% of the motion" }, (v) => { term.at = v; }));
    const remove = element("button", { type: "button", class: "quiet", onclick: () => { this.content.term.splice(i, 1); this.draw(); this.check(); byId("add").focus(); } }, "Remove this goal");
    const details = element("details", { open }, element("summary", {}, "Change what is measured"), what,
      ...(of[term.quantity] === "none" ? [] : [this.picker(term)]), element("p", { class: "buttons" }, remove));
    return element("fieldset", { class: "term" }, element("legend", {}, term.name || `Goal ${i + 1}`), element("p", { class: "words" }), values, details);
  }
  slider(name, value, { limits: [low, high, step], factor, text }, set) {
    const shown = String(Number((factor * value).toPrecision(6)));
    const number = element("input", { type: "number", step: "any", value: shown, "aria-label": `${name} in ${text}` });
    const range = element("input", { type: "range", min: String(Math.min(low, shown)), max: String(Math.max(high, shown)), step: String(step), value: shown, "aria-label": `${name} in ${text}, slider` });
    const tie = (from, to) => from.addEventListener("input", () => {
      if (from.value === "" || !Number.isFinite(Number(from.value))) return;
      to.value = from.value; set(Number((Number(from.value) / factor).toPrecision(9))); this.check();
    });
    tie(range, number); tie(number, range);
    return element("label", { class: "value" }, element("span", {}, `${name} (${text})`), range, number);
  }
  picker(term) {
    const known = term.quantity === "activation" ? this.choices.muscles
      : ["coordinate", "velocity", "moment"].includes(term.quantity) ? this.choices.coordinates : [];
    const names = Object.fromEntries(known), list = element("ul", { class: "picked" });
    const fill = () => list.replaceChildren(...(term.of || []).map((name) => element("li", {}, element("button", {
      type: "button", "aria-label": `Leave out ${names[name] || name}`,
      onclick: () => { term.of = term.of.filter((n) => n !== name); fill(); this.check(); } }, `${names[name] || name} ×`))));
    fill();
    const place = element("div", { class: "row" });
    if (known.length) {
      const add = element("select", { onchange: (event) => {
        if (event.target.value && !(term.of || []).includes(event.target.value)) { term.of = [...(term.of || []), event.target.value]; fill(); this.check(); }
        event.target.value = "";
      } }, element("option", { value: "" }, "choose"), ...known.map(([key, text]) => element("option", { value: key }, text)));
      place.append(element("label", {}, "Of", add));
    }
    place.append(list);
    return place;
  }
  async start() {
    byId("start").disabled = true;
    const request = { ...this.request, kind: byId("kind").value };
    if (request.kind === "edit") request.trial = Number(byId("trial").value); else request.count = Number(byId("count").value);
    try {
      const { job } = await post(`/people/${this.person}/ask`, request);
      location.assign(`/jobs/${job}`);
    } catch (error) { this.say(error.message, "bad"); byId("start").disabled = false; }
  }
}
if (byId("ask")) new Asking(byId("ask"));
