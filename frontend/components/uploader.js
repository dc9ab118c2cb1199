// What is seen of an upload, and the person's hands on it. The job lives in globalThis: Streamlit calls the function at
// the end whenever it likes, without the earlier call's cleanup, and removes all of this on another page.
const PAGE = (globalThis.ninefoldUpload ??= { job: null, guarded: false });
const VIEWS = new WeakMap();
const SEEN_MS = 15_000, LOOK_MS = 2000;

function paint(view, job) {
  const { $ } = view, whole = job.file.size ? Math.floor(100 * job.done / job.file.size) : 0,
    percent = job.state === "uploading" ? Math.min(99, whole) : whole, stopped = job.state === "stopped";
  $(".drop").hidden = job.moving || stopped || job.state === "cancelling";
  $(".job").hidden = !$(".drop").hidden;
  $(".job").classList.toggle("still", stopped || job.waiting);
  $(".name").textContent = short(job.file.name);
  $(".name").title = job.file.name;
  $(".percent").textContent = `${percent} %`;
  $(".bar i").style.width = `${percent}%`;
  $(".bar").setAttribute("aria-valuenow", percent);
  $(".facts").textContent = { preparing: "Getting ready …", uploading: job.facts(), completing: "All parts have arrived. Putting them together …", cancelling: "Cancelling …" }[job.state] ?? `${size(job.done)} of ${size(job.file.size)} have arrived.`;
  $(".again").hidden = !stopped;
  $(".cancel").disabled = job.state === "cancelling";
  if (job.state === "done" && !job.seen) job.seen = setTimeout(() => { job.set("idle"); }, SEEN_MS);
  const words = job.state === "done" ? `${quoted(job.file.name)} has arrived (${size(job.file.size)}). It is looked at next.` : job.words || (job.moving && job.other) || "";
  $(".words").hidden = !words;
  $(".words").classList.toggle("stop", ["stopped", "refused"].includes(job.state));
  if ($(".words").textContent !== words) $(".words").textContent = words;
  const spoken = job.state === "uploading" ? `${percent - percent % 10} % of ${short(job.file.name)} sent` : job.moving ? "" : words;
  if ($(".live").textContent !== spoken) $(".live").textContent = spoken;
  if (!job.moving && view.last !== job.state) recall(view);
  if (view.last && MOVING.includes(job.state) && !MOVING.includes(view.last)) recall(view);
  view.last = job.state;
  if (job.news && !job.news.told) { job.news.told = true; view.tell({ event: job.news.event, id: job.news.id }); }
}

// The uploads that a reload interrupted, and those of other tabs. Those that the server knows no more, or has complete, are
// forgotten.
async function recall(view) {
  const api = view.data.api, rows = [], turn = view.turn = {}, elsewhere = await hands.elsewhere(), before = held(api, elsewhere);
  for (const record of kept.all(api)) {
    if (record.id === PAGE.job?.id) continue;
    if (elsewhere(record)) { rows.push(row(`${quoted(record.name)} (${size(record.size)}) is being uploaded in another tab of this browser.`)); continue; }
    const upload = await arrived(api, record).catch(error => error);
    if (upload.status === 404 || upload.status === 409) { kept.drop(record.id); continue; }
    rows.push(unfinished(view, record, upload.arrived));
  }
  if (view.turn !== turn) return;   // it was asked for anew meanwhile
  view.turn = null;
  view.$(".kept").replaceChildren(...rows);
  look(view, before);
}

const held = (api, elsewhere) => kept.all(api).filter(elsewhere).map(({ id }) => id).join();

// Looks from time to time whether another tab began or ended one.
function look(view, before) {
  clearTimeout(view.looking);
  view.looking = setTimeout(async () => {
    view.looking = null;
    const { isConnected } = view.$(".kept") ?? {};
    if (!isConnected) return;
    const changed = held(view.data.api, await hands.elsewhere()) !== before;
    if (changed) recall(view); else look(view, before);
  }, LOOK_MS);
}

function row(...inside) {
  const made = document.createElement("div");
  made.className = "rest";
  made.append(...inside);
  return made;
}

function unfinished(view, record, parts) {
  const words = document.createElement("span"), discard = document.createElement("button"), made = row(words, discard);
  const share = parts ? ` at ${Math.floor(100 * parts.reduce((sum, part) => sum + part.size_bytes, 0) / record.size)} %` : "";
  words.textContent = `The upload of ${quoted(record.name)} (${size(record.size)}) was interrupted${share}. Choose the same file again: only what is missing will be sent.`;
  discard.type = "button";
  discard.textContent = "Discard it";
  discard.onclick = async () => {
    discard.disabled = true;
    if (!await hands.take(record)) return recall(view);   // another tab went on with it
    const path = `/v1/batches/${encodeURIComponent(record.id)}`;
    const able = TOKENS.fresh ? renew(view.data.api, record) : Promise.resolve();   // its token may have ended meanwhile
    const error = await able.then(() => ask(view.data.api, "DELETE", path, null, undefined, record.token)).catch(found => found);
    if (error && error.status !== 404) { hands.leave(record.id); discard.disabled = false; words.textContent = error.message; return; }
    kept.drop(record.id);
    made.remove();
    view.tell({ event: "cancelled", id: record.id });
  };
  return made;
}

function take(view, files) {
  if (!files?.length || PAGE.job?.moving) return;
  const job = new Job(files[0], view.data);
  watch(view, job);
  if (files.length > 1) return job.fail(new Trouble(`${files.length} files were given: one zip at a time, please.`, { final: true }));
  job.run();
  view.$(".cancel").focus();
}

function watch(view, job) {
  PAGE.job?.views.delete(view.paint);
  PAGE.job = job;
  job.control ??= new AbortController();
  job.views.add(view.paint);
  view.paint(job);
}

function mount(view) {
  const { $ } = view, drop = $(".drop"), input = $("input");
  input.onchange = () => { take(view, [...input.files]); input.value = ""; };
  drop.ondragover = event => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = event => { event.preventDefault(); drop.classList.remove("over"); take(view, [...event.dataTransfer.files]); };
  $(".cancel").onclick = () => PAGE.job?.cancel();
  $(".again").onclick = () => PAGE.job?.run();
  if (PAGE.job) watch(view, PAGE.job);
}

if (!PAGE.guarded) {
  PAGE.guarded = true;
  addEventListener("beforeunload", event => { if (PAGE.job?.moving) event.preventDefault(); });
}

export default function ({ data, parentElement, setStateValue }) {
  TOKENS.fresh = data.token ?? null;
  let view = VIEWS.get(parentElement);
  if (!view) {
    view = { data, $: selector => parentElement.querySelector(selector), last: null };
    view.paint = job => paint(view, job);
    view.leave = () => { PAGE.job?.views.delete(view.paint); VIEWS.delete(parentElement); clearTimeout(view.looking); view.turn = null; };
    VIEWS.set(parentElement, view);
    Object.assign(view, { tell: told => setStateValue("told", told) });
    mount(view);
  }
  Object.assign(view, { data, tell: told => setStateValue("told", told) });
  if (!view.looking && !view.turn) recall(view);
  view.$(".hint").textContent = `.zip, up to ${size(data.max_bytes)} and ${data.max_entries.toLocaleString("en")} files. It goes straight to the storage.`;
  return view.leave;
}
