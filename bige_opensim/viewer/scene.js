// The scene: bodies moved by their poses, muscles as tubes coloured by activation, forces, balance. WebGL 2, no library.
"use strict";
const About = JSON.parse(document.getElementById("bige-data").textContent);
const $ = (id) => document.getElementById(id);

async function arrays() {
  const packed = Uint8Array.from(atob(About.blob), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const kinds = { int16: Int16Array, uint16: Uint16Array, uint32: Uint32Array, uint8: Uint8Array };
  const found = {};
  for (const [name, a] of Object.entries(About.arrays)) {
    const values = new kinds[a.kind](bytes, a.start, a.count);
    if (a.steps) for (let i = a.steps; i < values.length; i++) values[i] += values[i - a.steps]; // differences over time
    found[name] = values;
  }
  return found;
}

const BODY_VERTEX = `#version 300 es
precision highp float;
uniform vec4 poses[3 * BODIES]; uniform mat4 view; uniform vec3 offset;
layout(location=0) in vec3 place; layout(location=1) in vec3 normal; layout(location=2) in float body;
out vec3 n;
void main() {
  int b = 3 * int(body);
  vec4 p = vec4(place, 1.0), d = vec4(normal, 0.0);
  n = vec3(dot(poses[b], d), dot(poses[b + 1], d), dot(poses[b + 2], d));
  gl_Position = view * vec4(vec3(dot(poses[b], p), dot(poses[b + 1], p), dot(poses[b + 2], p)) + offset, 1.0);
}`;
const BODY_FRAGMENT = `#version 300 es
precision mediump float;
uniform vec4 colour; in vec3 n; out vec4 seen;
void main() {
  vec3 m = normalize(n);
  float light = 0.62 + 0.2 * m.y + 0.3 * max(dot(m, vec3(0.55, 0.45, 0.7)), 0.0);
  seen = vec4(min(colour.rgb * light, 1.0), colour.a);
}`;
const TUBE_VERTEX = `#version 300 es
precision highp float;
uniform vec4 poses[3 * BODIES]; uniform mat4 view; uniform vec3 offset, eye;
layout(location=0) in vec4 start; layout(location=1) in vec4 end; layout(location=2) in vec3 shape;
layout(location=3) in vec3 tint;
out float across; out vec3 shade;
vec3 moved(vec4 q) {
  int b = 3 * int(q.w); vec4 p = vec4(q.xyz, 1.0);
  return vec3(dot(poses[b], p), dot(poses[b + 1], p), dot(poses[b + 2], p)) + offset;
}
void main() { // shape: which end, which side, radius there (m)
  vec3 a = moved(start), b = moved(end), p = mix(a, b, shape.x);
  vec3 side = cross(b - a, eye - p);
  side = dot(side, side) > 1e-12 ? normalize(side) : vec3(0.0);
  across = shape.y; shade = tint;
  gl_Position = view * vec4(p + side * shape.y * shape.z, 1.0);
}`;
const TUBE_FRAGMENT = `#version 300 es
precision mediump float;
in float across; in vec3 shade; out vec4 seen;
void main() { seen = vec4(shade * (0.72 + 0.33 * sqrt(max(1.0 - across * across, 0.0))), 1.0); }`;

const canvas = $("scene");
const software = (() => {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return false;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return info !== null && /swiftshader|llvmpipe|software/i.test(gl.getParameter(info.UNMASKED_RENDERER_WEBGL));
})();
const gl = canvas.getContext("webgl2", { antialias: !software, alpha: false });
if (!gl) $("message").textContent = "This browser cannot draw in three dimensions (WebGL 2 is missing or switched off).";

function program(vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text.replaceAll("BODIES", String(About.bodies + 1)));
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "no program");
  const uniform = {};
  for (const name of ["poses", "view", "offset", "eye", "colour"]) uniform[name] = gl.getUniformLocation(made, name);
  return { made, uniform };
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const unit = (a) => { const s = Math.hypot(...a) || 1; return a.map((x) => x / s); };

const camera = { target: [0, 0.95, 0], away: 4, turn: 0.46, lift: 0.3 };
function eyeOf() {
  const { target: t, away: r, turn, lift } = camera;
  return [t[0] + r * Math.cos(lift) * Math.cos(turn), t[1] + r * Math.sin(lift), t[2] + r * Math.cos(lift) * Math.sin(turn)];
}
function viewOf(eye, aspect) { // projection times look-at, column by column; 40 degrees up and down
  const z = unit(minus(eye, camera.target)), x = unit(cross([0, 1, 0], z)), y = cross(z, x);
  const f = 1 / Math.tan(0.35), near = 0.1, far = 200, dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
  const g = Math.min(f / aspect, f), h = aspect < 1 ? f * aspect : f;
  const sx = aspect < 1 ? f : g, sy = aspect < 1 ? h : f;
  const a = (far + near) / (near - far), b = (2 * far * near) / (near - far);
  const m = [];
  for (let i = 0; i < 3; i++) m.push(sx * x[i], sy * y[i], a * z[i], -z[i]);
  m.push(sx * dot(x), sy * dot(y), a * dot(z) + b, -dot(z));
  return new Float32Array(m);
}

function surface(vertices, faces, bodies) {
  const count = vertices.length / 3, place = new Float32Array(vertices.length), normal = new Float32Array(vertices.length);
  for (let i = 0; i < vertices.length; i++) place[i] = vertices[i] * 1e-4;
  const at = (i) => [place[3 * i], place[3 * i + 1], place[3 * i + 2]];
  for (let f = 0; f < faces.length; f += 3) {
    const n = cross(minus(at(faces[f + 1]), at(faces[f])), minus(at(faces[f + 2]), at(faces[f])));
    for (let k = 0; k < 3; k++) for (let c = 0; c < 3; c++) normal[3 * faces[f + k] + c] += n[c];
  }
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  [[place, 3], [normal, 3], [Float32Array.from(bodies), 1]].forEach(([values, size], i) => attribute(i, values, size));
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, Uint32Array.from(faces), gl.STATIC_DRAW);
  return { array, indices: faces.length, count };
}
function attribute(place, values, size, usage = gl.STATIC_DRAW) {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, values, usage);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
  return buffer;
}

class Tubes { // quads that face the eye, four corners a segment
  constructor(count) {
    this.count = count;
    this.start = new Float32Array(16 * count); this.end = new Float32Array(16 * count);
    this.shape = new Float32Array(12 * count); this.tint = new Float32Array(12 * count);
    const index = new Uint32Array(6 * count);
    for (let s = 0; s < count; s++) index.set([0, 1, 2, 2, 1, 3].map((k) => 4 * s + k), 6 * s);
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    this.buffers = [[this.start, 4], [this.end, 4], [this.shape, 3], [this.tint, 3]].map(([v, n], i) => attribute(i, v, n, gl.DYNAMIC_DRAW));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, index, gl.STATIC_DRAW);
  }
  set(s, a, bodyA, b, bodyB, radiusA, radiusB, colour) {
    for (let k = 0; k < 4; k++) {
      this.start.set(a, 16 * s + 4 * k); this.start[16 * s + 4 * k + 3] = bodyA;
      this.end.set(b, 16 * s + 4 * k); this.end[16 * s + 4 * k + 3] = bodyB;
      this.shape.set([k >> 1, k & 1 ? 1 : -1, k >> 1 ? radiusB : radiusA], 12 * s + 3 * k);
    }
    this.colour(s, colour);
  }
  colour(s, c) { for (let k = 0; k < 4; k++) this.tint.set(c, 12 * s + 3 * k); }
  send(which = [0, 1, 2, 3]) {
    const all = [this.start, this.end, this.shape, this.tint];
    for (const i of which) { gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i]); gl.bufferSubData(gl.ARRAY_BUFFER, 0, all[i]); }
  }
  draw(count = this.count) { gl.bindVertexArray(this.array); gl.drawElements(gl.TRIANGLES, 6 * count, gl.UNSIGNED_INT, 0); }
}

function activationColour(a) {
  const { stops, colours } = About.activation;
  let i = 1;
  while (i < stops.length - 1 && a > stops[i]) i++;
  const w = Math.min(1, Math.max(0, (a - stops[i - 1]) / (stops[i] - stops[i - 1])));
  return [0, 1, 2].map((k) => ((1 - w) * colours[i - 1][k] + w * colours[i][k]) / 255);
}

class Person {
  constructor(data, i) {
    const about = About.persons[i], get = (name) => data[`person${i}.${name}`];
    this.skin = surface(get("skin"), get("skin_faces"), get("skin_bodies"));
    this.bones = surface(get("bones"), get("bones_faces"), get("bones_bodies"));
    this.points = get("points"); this.pointBodies = get("point_bodies"); this.segments = get("segments");
    this.muscleOf = get("point_muscles"); this.loose = about.loose;
  }
}

class Take { // one motion: its frames, and what is drawn of it
  constructor(data, i, persons) {
    this.about = About.takes[i];
    this.person = persons[this.about.person];
    const get = (name) => data[`take${i}.${name}`];
    for (const name of ["places", "turns", "activations", "known", "loose", "arrows", "pushing", "loads", "com", "support", "balanced", "furniture"]) this[name] = get(name);
    this.poses = new Float32Array(12 * (About.bodies + 1));
    this.poses.set([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], 12 * About.bodies); // the ground
    this.muscles = new Tubes(this.person.segments.length / 2);
    this.lines = new Tubes(4 + 2 * this.about.carried + this.about.corners + 2 * this.about.loaded + this.about.edges);
    this.shown = -1;
    this.#fixed();
  }
  #fixed() {
    const { points, pointBodies, segments } = this.person, at = (p) => [0, 1, 2].map((k) => points[3 * p + k] * 1e-4);
    for (let s = 0; s < segments.length / 2; s++) {
      const [a, b] = [segments[2 * s], segments[2 * s + 1]];
      this.muscles.set(s, at(a), pointBodies[a], at(b), pointBodies[b], 0.0055, 0.0055, [0.5, 0.5, 0.5]);
    }
    this.muscles.send();
  }
  show(frame) {
    frame = Math.min(frame, this.about.frames - 1);
    if (frame === this.shown) return;
    this.shown = frame;
    this.#move(frame);
    this.#colour(frame);
    this.#balance(frame);
  }
  #move(frame) {
    const n = this.about.bodies;
    for (let b = 0; b < n; b++) {
      const t = 4 * (frame * n + b), p = 3 * (frame * n + b), o = 12 * b;
      let [w, x, y, z] = [0, 1, 2, 3].map((k) => this.turns[t + k]);
      const s = Math.hypot(w, x, y, z); w /= s; x /= s; y /= s; z /= s;
      const m = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
      for (let r = 0; r < 3; r++) {
        for (let c = 0; c < 3; c++) this.poses[o + 4 * r + c] = m[3 * r + c];
        this.poses[o + 4 * r + 3] = this.places[p + r] / 2000;
      }
    }
  }
  #colour(frame) {
    const { segments, muscleOf, loose } = this.person, many = this.about.muscles;
    const colours = [];
    for (let m = 0; m < many; m++) colours.push(this.known[m] ? activationColour(this.activations[frame * many + m] / 255) : this.about.unknown.map((c) => c / 255));
    for (let s = 0; s < segments.length / 2; s++) this.muscles.colour(s, colours[muscleOf[segments[2 * s]]]);
    loose.forEach((point, i) => { // points that move in their body are given in the scene
      const at = [0, 1, 2].map((k) => this.loose[3 * (frame * loose.length + i) + k] / 2000);
      for (let s = 0; s < segments.length / 2; s++) for (let end = 0; end < 2; end++) if (segments[2 * s + end] === point)
        for (let k = 0; k < 4; k++) (end ? this.muscles.end : this.muscles.start).set([...at, About.bodies], 16 * s + 4 * k);
    });
    this.muscles.send(loose.length ? [0, 1, 3] : [3]);
  }
  #balance(frame) {
    const ground = About.bodies, mm = (values, i) => [0, 1, 2].map((k) => values[3 * i + k] / 2000);
    const com = mm(this.com, frame), n = this.about.corners;
    let used = 0;
    const add = (a, b, ra, rb, c) => this.lines.set(used++, a, ground, b, ground, ra, rb, c.map((v) => v / 255));
    const colour = !n ? About.colours.centre : this.balanced[frame] ? About.colours.balanced : About.colours.falling;
    this.com3 = com;
    if ($("balance").checked) {
      add(com, [com[0], 0, com[2]], 0.003, 0.003, colour);
      add([com[0] - 0.02, 0.003, com[2]], [com[0] + 0.02, 0.003, com[2]], 0.004, 0.004, colour);
      add([com[0], 0.003, com[2] - 0.02], [com[0], 0.003, com[2] + 0.02], 0.004, 0.004, colour);
      for (let c = 0; c < n; c++) {
        const at = (i) => [this.support[2 * (frame * n + i)] / 2000, 0.004, this.support[2 * (frame * n + i) + 1] / 2000];
        add(at(c), at((c + 1) % n), 0.004, 0.004, colour);
      }
    }
    const arrow = (values, i, thick, colour) => {
      const tail = mm(values, i), tip = mm(values, i + 1), way = unit(minus(tip, tail));
      const head = Math.min(9 * thick, 0.5 * Math.hypot(...minus(tip, tail))), neck = tip.map((v, k) => v - head * way[k]);
      add(tail, neck, thick, thick, colour);
      add(neck, tip, 3 * thick, 0, colour);
    };
    if ($("forces").checked) {
      const many = this.about.carried;
      for (let k = 0; k < many; k++) if (this.pushing[many * frame + k]) arrow(this.arrows, 2 * (many * frame + k), 0.009, About.colours.force);
    }
    if ($("loads").checked) for (let j = 0; j < this.about.loaded; j++) arrow(this.loads, 2 * (frame * this.about.loaded + j), 0.007, About.colours.load);
    for (let e = 0; e < this.about.edges; e++) add(mm(this.furniture, 2 * e), mm(this.furniture, 2 * e + 1), 0.012, 0.012, About.colours.furniture);
    this.used = used;
    this.lines.send();
  }
}
