// What is seen of the camera, and the person's hands on it. Streamlit calls the function at the end whenever it likes,
// without the earlier call's cleanup; what was chosen lives in globalThis and outlasts a visit to another page.
const CHOSEN = (globalThis.ninefoldLive ??= { mode: "classify", filter: false, mirror: null, camera: FACING[0][0] });
const VIEWS = new WeakMap();
const WIDTH = 640, QUALITY = .8, MOST_ACROSS = 1600, WINDOW_MS = 2000, FIGURES_MS = 200, HEARD_MS = 4000;
const OFF = "The camera is off. Frames go to the server only while it is on, and are not kept.";
const NAMES = { classify: "What it shows", detect: "Where things are", "detect+classify": "Where, and what each is", filter: "Filter out noise first" };

const mean = (all, key) => all.reduce((sum, each) => sum + each[key], 0) / all.length;
const ms = value => `${value.toFixed(value < 9.95 ? 1 : 0)} ms`;
// Written only where it changes: an aria-live region would be read out again.
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

function say(view, words, stop = false) {
  view.$(".words").classList.toggle("stop", stop);
  write(view.$(".words"), words);
}

// ---- the camera ------------------------------------------------------------------------------------------------------
async function start(view) {
  const run = (view.run = { recent: [], came: 0, dropped: 0, grab: document.createElement("canvas") }), video = view.$("video");
  draw(view);
  say(view, "Waiting for the camera. The browser may ask whether this page may use it.");
  try { run.stream = await openCamera(CHOSEN.camera); }
  catch (error) { if (view.run === run) stop(view, error.message, true); return; }
  if (view.run !== run) return close(run.stream);   // stopped meanwhile
  const [track] = run.stream.getVideoTracks(), { deviceId, facingMode } = track.getSettings();
  if (deviceId) CHOSEN.camera = `device:${deviceId}`;
  CHOSEN.mirror ??= facingMode === "user";
  track.onended = () => { if (view.run === run) stop(view, "The camera was taken away. Choose another one, or press Start.", true); };
  video.srcObject = run.stream;
  video.play().catch(() => {});   // stopped at once
  await choices(view);
  if (view.run !== run) return;
  draw(view);
  connect(view);
  next(view, run);
}

function stop(view, words = OFF, bad = false) {
  const run = view.run;
  view.run = null;
  run?.line?.close();
  close(run?.stream);
  view.$("video").srcObject = null;
  view.$("canvas").hidden = true;
  forget(view);
  draw(view);
  say(view, words, bad);
}

async function choices(view) {
  const select = view.$("select"), found = await cameras(), there = found.some(([value]) => value === CHOSEN.camera);
  const facing = FACING.find(([value]) => value === CHOSEN.camera);   // wanted still, whatever the browser lists first
  if (!there && facing) found.unshift(facing);
  else if (!there) CHOSEN.camera = found[0][0];
  select.replaceChildren(...found.map(([value, label]) => new Option(label, value, false, value === CHOSEN.camera)));
}

// Frames as the camera gives them, where the browser tells; else as often as the screen is drawn.
function next(view, run) {
  const video = view.$("video"), again = () => { if (view.run === run) { frame(view, run); next(view, run); } };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(again); else requestAnimationFrame(again);
}

function frame(view, run) {
  if (run.fresh && run.line?.open) run.dropped++;   // a newer one takes its place
  run.fresh = true;
  if (!run.judged) show(view, view.$("video"), null);
  offer(view, run);
}

// Sends the newest frame, if there is one that was not sent and none is unanswered.
function offer(view, run) {
  const video = view.$("video"), { line, grab } = run, wide = video.videoWidth;
  if (!run.fresh || run.grabbing || !line?.free || !wide) return;
  run.fresh = false;
  run.grabbing = true;
  grab.width = Math.min(WIDTH, wide);
  grab.height = Math.round(video.videoHeight * grab.width / wide);
  grab.getContext("2d").drawImage(video, 0, 0, grab.width, grab.height);
  grab.toBlob(blob => {
    run.grabbing = false;
    if (blob && run.line === line && line.free) line.send(blob);
  }, "image/jpeg", QUALITY);
}

// ---- the server ------------------------------------------------------------------------------------------------------
function address({ data }) {
  const query = new URLSearchParams({ mode: CHOSEN.mode });
  if (CHOSEN.filter) query.set("filter", "1");
  for (const key of ["model", "precision", "token"]) if (data[key]) query.set(key, data[key]);
  return `${data.api}/v1/live?${query}`;
}

const asked = view => JSON.stringify([view.data.api, view.data.model, view.data.precision, CHOSEN.mode, CHOSEN.filter]);

function connect(view) {
  const run = view.run;
  if (!run?.stream) return;
  run.line?.close();
  Object.assign(run, { line: null, asked: asked(view), judged: null, answer: null, recent: [], came: 0, dropped: 0, fresh: false });
  forget(view);
  if (document.hidden) return say(view, "Paused: this tab is not in view.");
  say(view, "Connecting to the server …");
  const mine = heard => (...told) => { if (view.run === run && run.line === line) heard(...told); };
  const line = new Line(() => address(view), {
    ready: mine(() => { run.behind = 0; say(view, "Live."); }),
    answer: mine((answer, took) => judged(view, run, answer, took)),
    waiting: mine(words => { Object.assign(run, { judged: null, answer: null }); forget(view); say(view, words, true); }),
    over: mine(words => stop(view, words, true)),
  });
  run.line = line;
  line.connect();
}

function judged(view, run, answer, took) {
  const now = performance.now();
  run.recent = [...run.recent.filter(each => now - each.at < WINDOW_MS), { at: now, server: answer.latency_ms, took }];
  run.dropped += answer.dropped - run.behind;
  run.behind = answer.dropped;
  run.came++;
  if (answer.error) say(view, `No answer for this frame: ${answer.error.message}`, true);
  else if (view.$(".words").textContent !== "Live.") say(view, "Live.");
  // The frame that was judged, under its own boxes: over the moving picture they would come too late.
  [run.judged, run.grab] = [run.grab, run.judged ?? document.createElement("canvas")];
  run.answer = answer;
  if (answer.detector && answer.detector !== view.detector) { view.detector = answer.detector; draw(view); }
  show(view, run.judged, answer);
  tell(view, run, now);
  offer(view, run);
}

// ---- what is seen ------------------------------------------------------------------------------------------------------
function show(view, picture, answer) {
  const canvas = view.$("canvas"), wide = picture.videoWidth ?? picture.width, high = picture.videoHeight ?? picture.height;
  if (!wide) return;
  const stage = view.$(".stage"), across = stage.clientWidth || wide, scale = Math.min(devicePixelRatio || 1, MOST_ACROSS / across);
  const width = Math.round(across * scale), height = Math.round(width * high / wide);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  stage.style.aspectRatio = `${wide} / ${high}`;
  canvas.hidden = false;
  paint(canvas, picture, answer, CHOSEN.mirror, scale);
}

function tell(view, run, now) {
  const { $ } = view, { recent, answer } = run, rows = answer.labels ?? answer.boxes ?? [];
  if (now - (run.told ?? -FIGURES_MS) < FIGURES_MS) return;
  run.told = now;
  const first = recent[0].at, rate = recent.length > 1 ? 1000 * (recent.length - 1) / Math.max(1, now - first) : 0;
  write($(".fps"), rate ? rate.toFixed(1) : "–");
  write($(".latency"), ms(mean(recent, "server")));
  write($(".trip"), ms(mean(recent, "took")));
  write($(".dropped"), `${run.dropped.toLocaleString("en")} of ${(run.dropped + run.came).toLocaleString("en")}`);
  $(".snap").disabled = false;
  if (!answer.error) $(".seen").replaceChildren(...rows.map(row));
  const names = rows.slice(0, 3).map(each => each.label).join(", ") || "nothing";
  if (!answer.error && now - (view.heardAt ?? -HEARD_MS) > HEARD_MS) { view.heardAt = now; write($(".heard"), `Seen: ${names}`); }
}

function row(each, place, all) {
  const item = document.createElement("li"), label = document.createElement("span"), share = document.createElement("em"), bar = document.createElement("i");
  label.textContent = label.title = each.label;
  share.textContent = percent(each.probability);
  bar.style.width = `${100 * Math.min(1, Math.max(0, each.probability))}%`;
  bar.style.background = each.box ? colour(each) : place ? "color-mix(in srgb, var(--accent) 55%, var(--fill))" : "var(--accent)";
  item.append(label, share, bar);
  return item;
}

function forget(view) {
  for (const name of [".fps", ".latency", ".trip", ".dropped"]) write(view.$(name), "–");
  view.$(".seen").replaceChildren();
  view.$(".snap").disabled = true;
}

// ---- a snapshot ------------------------------------------------------------------------------------------------------
function snapshot(view) {
  const { run, data, $ } = view, canvas = document.createElement("canvas");
  if (!run?.judged || !run.answer) return;
  Object.assign(canvas, { width: run.judged.width, height: run.judged.height });
  paint(canvas, run.judged, run.answer, CHOSEN.mirror, 1);
  const when = new Date(), { mode, filter } = CHOSEN, { labels, boxes, detector, latency_ms: latency, error } = run.answer;
  const said = { taken_at: when.toISOString(), mode, filter, model: data.model, precision: data.precision, width: canvas.width, height: canvas.height,
    mirrored: Boolean(CHOSEN.mirror), latency_ms: latency, ...(labels && { labels }), ...(boxes && { detector, boxes: placed(boxes, CHOSEN.mirror) }), ...(error && { error }) };
  const name = `ninefold-live-${when.toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}`;
  canvas.toBlob(blob => {
    for (const url of view.urls ?? []) URL.revokeObjectURL(url);
    view.urls = [blob, new Blob([JSON.stringify(said, null, 2)], { type: "application/json" })].map(part => URL.createObjectURL(part));
    Object.assign($(".picture"), { href: view.urls[0], download: `${name}.jpg` });
    Object.assign($(".labels"), { href: view.urls[1], download: `${name}.json` });
    $(".taken img").src = view.urls[0];
    write($(".what"), (labels ?? boxes ?? []).slice(0, 3).map(each => `${each.label} ${percent(each.probability)}`).join(" · ") || "nothing was seen on it");
    $(".taken").hidden = false;
  }, "image/jpeg", .92);
}

// ---- the controls ------------------------------------------------------------------------------------------------------
function draw(view) {
  const { $, $$, data, run } = view, off = data.modes, open = Object.keys(NAMES).filter(mode => mode in off && !off[mode]);
  if (off[CHOSEN.mode] && open.length) CHOSEN.mode = open[0];
  for (const radio of $$("input[type=radio]")) Object.assign(radio, { checked: radio.value === CHOSEN.mode, disabled: Boolean(off[radio.value]) });
  if (data.filter) CHOSEN.filter = false;
  Object.assign($(".filter input"), { checked: CHOSEN.filter, disabled: Boolean(data.filter) });
  reasons(view);
  $(".why").hidden = !open.length;   // then the page says it, above
  const go = $(".go");
  write(go, run ? "Stop" : "Start");
  go.classList.toggle("on", Boolean(run));
  go.disabled = !run && !(open.length && data.model);
  $(".flip").setAttribute("aria-pressed", String(Boolean(CHOSEN.mirror)));
  $(".off").hidden = Boolean(run);
  const name = `${data.title} · ${data.precision}`;
  const finder = view.detector ?? "the detector";
  write($(".by"), !data.model ? "–" : { classify: name, detect: finder }[CHOSEN.mode] ?? `${finder}, ${name}`);
}

// What is off, and the server's words why; the same words once.
function reasons(view) {
  const why = new Map(), { data } = view;
  for (const [name, words] of [...Object.entries(data.modes), ["filter", data.filter]]) if (words) why.set(words, [...(why.get(words) ?? []), NAMES[name]]);
  view.$(".why").replaceChildren(...[...why].map(([words, names]) => {
    const line = document.createElement("p"), head = document.createElement("b");
    head.textContent = `Off: ${names.join("; ")}. `;
    line.append(head, ...words.split("`").map((part, at) => at % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part));
    return line;
  }));
}

function mount(view) {
  const { $, $$ } = view, change = () => { draw(view); connect(view); };
  $(".go").onclick = () => { if (view.run) stop(view); else start(view); };
  $(".flip").onclick = () => { CHOSEN.mirror = !CHOSEN.mirror; draw(view); if (view.run?.judged) show(view, view.run.judged, view.run.answer); };
  $(".snap").onclick = () => snapshot(view);
  $("select").onchange = event => { CHOSEN.camera = event.target.value; CHOSEN.mirror = null; if (view.run) { stop(view); start(view); } };
  for (const radio of $$("input[type=radio]")) radio.onchange = () => { CHOSEN.mode = radio.value; change(); };
  $(".filter input").onchange = event => { CHOSEN.filter = event.target.checked; change(); };
  const hidden = () => { if (view.run?.stream) connect(view); }, changed = () => choices(view);
  document.addEventListener("visibilitychange", hidden);
  navigator.mediaDevices?.addEventListener?.("devicechange", changed);
  view.leave = () => {
    document.removeEventListener("visibilitychange", hidden);
    navigator.mediaDevices?.removeEventListener?.("devicechange", changed);
    if (view.run) stop(view);
    VIEWS.delete(view.root);
  };
  choices(view);
  say(view, OFF);
}

export default function ({ data, parentElement }) {
  let view = VIEWS.get(parentElement);
  if (!view) {
    view = { root: parentElement, data, run: null, $: selector => parentElement.querySelector(selector), $$: selector => parentElement.querySelectorAll(selector) };
    VIEWS.set(parentElement, view);
    mount(view);
  }
  view.data = data;
  draw(view);
  if (view.run?.asked && view.run.asked !== asked(view)) connect(view);
  return view.leave;
}
