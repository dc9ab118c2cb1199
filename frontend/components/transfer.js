// Sends one zip from this browser straight to the storage, in parts, past the page's own process.
// It needs neither crypto.subtle nor anything else that is missing on plain http. uploader.js, which is read right
// behind this file, shows it.
const PARALLEL = 4, ATTEMPTS = 5, SIGNED_AT_ONCE = 8, STALL_MS = 60_000, PAUSE_MS = 500, KEY = "ninefold.upload.";
const BEAT_MS = 20_000, LOST_MS = 90_000;   // a tab that nobody looks at is woken once a minute
const MOVING = ["preparing", "uploading", "completing"];
// Where the server asks for keys: `fresh`, the page's latest token, good for one batch, and `spent`, the one that was used.
const TOKENS = (globalThis.ninefoldTokens ??= { fresh: null, spent: null });
const RENEW_MS = 20 * 60_000, GOOD_MS = 50 * 60_000;

// ---- words --------------------------------------------------------------------------------------------------------
const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} KB`;
const time = seconds => seconds < 60 ? `${Math.max(1, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
const short = name => name.length > 80 ? `${name.slice(0, 50)}…${name.slice(-20)}` : name;
const quoted = name => `“\u2068${short(name)}\u2069”`;   // isolated: a name may turn the direction of writing

// What ends an attempt, in words. `passing`: it may go well the next time; `final`: it never will.
class Trouble extends Error {
  constructor(words, about = {}) { super(words); Object.assign(this, about); }
}

// ---- what outlives a reload: one record for each unfinished upload, with a mark of every part that arrived ---------------
const kept = {
  all(api) {
    try { return Object.keys(localStorage).filter(key => key.startsWith(KEY)).map(key => JSON.parse(localStorage.getItem(key))).filter(record => record?.api === api && record.id); } catch { return []; }
  },
  one(id) { try { return JSON.parse(localStorage.getItem(KEY + id)); } catch { return null; } },
  put(record) { try { localStorage.setItem(KEY + record.id, JSON.stringify(record)); } catch { /* then a reload starts anew */ } },
  drop(id) { try { localStorage.removeItem(KEY + id); } catch { /* nothing was kept */ } hands.leave(id); },
};

// ---- in whose hands a record is: all tabs see all records, and only one may go on with an upload, or discard it ---------
// A lock for each ends with its tab. Plain http has no locks: there whoever has a record writes into it that it still has.
const HELD = (globalThis.ninefoldHeld ??= new Map());
const hands = {
  // Whether it is ours from now on.
  take(record) { return HELD.has(record.id) ? Promise.resolve(false) : navigator.locks ? lock(record) : Promise.resolve(beat(record)); },
  leave(id) { HELD.get(id)?.(); HELD.delete(id); },
  // What tells of a record whether another tab has it.
  async elsewhere() {
    const locks = await navigator.locks?.query().catch(() => null), names = new Set(locks?.held.map(({ name }) => name));
    return record => !HELD.has(record.id) && (names.has(KEY + record.id) || beating(record));
  },
};
const beating = record => Date.now() - (record.beat ?? 0) < LOST_MS;

function lock(record) {
  return new Promise(taken => {
    navigator.locks.request(KEY + record.id, { ifAvailable: true }, had => {
      taken(Boolean(had));
      return had && new Promise(leave => HELD.set(record.id, leave));
    }).catch(() => taken(beat(record)));
  });
}

function beat(record) {
  if (beating(kept.one(record.id) ?? record)) return false;
  const at = when => { record.beat = when; if (kept.one(record.id)) kept.put(record); }, rest = () => at(0);
  const timer = setInterval(() => at(Date.now()), BEAT_MS);
  addEventListener("pagehide", rest);   // a reload need not wait until the beat is missed
  HELD.set(record.id, () => { clearInterval(timer); removeEventListener("pagehide", rest); rest(); });
  at(Date.now());
  return true;
}

// Tells other bytes apart; no defence against somebody who wants two files to look alike, and none is needed.
function mark(buffer) {
  const whole = buffer.byteLength >>> 2, words = new Uint32Array(buffer, 0, whole), rest = new Uint8Array(buffer, whole * 4);
  let a = buffer.byteLength ^ 0x9e3779b9, b = 0x85ebca6b;
  const mix = word => { a = Math.imul(a ^ word, 0x9e3779b1); a = (a << 13) | (a >>> 19); b = Math.imul(b + word, 0xc2b2ae35); b ^= b >>> 15; };
  for (let at = 0; at < whole; at++) mix(words[at]);
  for (const byte of rest) mix(byte);
  return (a >>> 0).toString(36) + (b >>> 0).toString(36);
}

// ---- the two who answer: the server (JSON) and the storage (parts) ------------------------------------------------------
async function ask(api, method, path, body, signal, token) {
  const clock = new AbortController(), timer = setTimeout(() => clock.abort(), STALL_MS), stop = () => clock.abort();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();   // it is told once, and not to those who ask after it
  try {
    const response = await fetch(api + path, { method, signal: clock.signal, body: body && JSON.stringify(body),
      headers: { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) } });
    if (response.ok) return response.status === 204 ? null : await response.json();
    const error = (await response.json().catch(() => null))?.error ?? {};
    const wait = 1000 * Math.min(30, Number(response.headers.get("Retry-After")) || 0);
    throw new Trouble(error.message ?? `The server answered with status ${response.status}.`, { status: response.status, code: error.code, wait,
      passing: response.status === 429 || response.status >= 500 || (token && response.status === 401), final: [413, 415, 422].includes(response.status) });
  } catch (error) {
    if (error instanceof Trouble) throw error;
    throw new Trouble(`This browser cannot reach the server at ${api}.`, { passing: true });
  } finally { clearTimeout(timer); signal?.removeEventListener("abort", stop); }
}

// The record's token anew: by itself while it is good, else by the page's, which tells that the person is signed in.
async function renew(api, record, signal) {
  if (!record.token) throw new Trouble("This upload began before the server asked for keys. Begin anew.", { status: 404 });
  const own = Date.now() - record.had < GOOD_MS, old = { token: record.token };
  const by = token => ask(api, "POST", "/v1/tokens/renew", old, signal, token);
  // Its own may have ended early, with the key that it was had by.
  ({ token: record.token } = await by(own ? record.token : TOKENS.fresh).catch(error => {
    if (own && error.status === 401 && TOKENS.fresh) return by(TOKENS.fresh);
    throw error;
  }));
  record.had = Date.now();
  kept.put(record);
}

// Which parts of an interrupted upload have arrived.
async function arrived(api, record, signal) {
  if (TOKENS.fresh) await renew(api, record, signal);
  return ask(api, "GET", `/v1/batches/${encodeURIComponent(record.id)}/upload`, null, signal, record.token);
}

function put(url, bytes, signal, moved) {   // fetch tells no progress
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest(), stop = () => request.abort();
    let timer;
    const alive = () => { clearTimeout(timer); timer = setTimeout(stop, STALL_MS); };
    request.upload.onprogress = event => { alive(); moved(event.loaded); };
    request.onload = () => request.status < 300 ? done() : fail(new Trouble(`The storage answered with status ${request.status}.`, { status: request.status, passing: request.status !== 404 }));
    request.onerror = request.onabort = () => fail(new Trouble("The storage does not answer this browser.", { passing: true }));
    request.onloadend = () => { clearTimeout(timer); signal.removeEventListener("abort", stop); };
    signal.addEventListener("abort", stop);
    if (signal.aborted) return request.onabort();
    request.open("PUT", url);
    alive();
    request.send(bytes);
  });
}

const pause = (ms, signal) => new Promise(go => { const timer = setTimeout(go, ms); signal.addEventListener("abort", () => { clearTimeout(timer); go(); }, { once: true }); });
const network = signal => navigator.onLine === false ? new Promise(go => { addEventListener("online", go, { once: true }); signal.addEventListener("abort", go, { once: true }); }) : null;

// ---- one zip on its way -------------------------------------------------------------------------------------------------
class Job {
  constructor(file, data) {
    Object.assign(this, { file, api: data.api, most: data.max_bytes, state: "preparing", words: "", id: null, upload: null, record: null, resumed: 0, retries: 0, waiting: false, over: false });
    this.views = new Set(); this.sent = new Map(); this.urls = new Map(); this.speeds = []; this.news = null;
  }
  get path() { return `/v1/batches/${encodeURIComponent(this.id)}`; }
  get moving() { return MOVING.includes(this.state); }
  get done() { let total = 0; for (const bytes of this.sent.values()) total += bytes; return total; }
  show() { for (const view of this.views) view(this); }
  glance() { const now = performance.now(); if (!(now - this.glanced < 120)) { this.glanced = now; this.show(); } }   // four parts tell more often than anybody reads
  set(state, words = "") { this.state = state; this.words = words; this.show(); }
  tell(event) { this.news = { event, id: this.id }; this.show(); }

  run() { return this.running = this.go(); }

  async go() {
    this.control = new AbortController();
    this.signal = this.control.signal;
    this.set("preparing");
    try {
      await this.check();
      this.signal.throwIfAborted();
      if (!this.id) await this.begin();
      else this.upload = await this.plan();
      this.signal.throwIfAborted();
      if (this.upload) {
        await this.send();
        this.signal.throwIfAborted();
        await this.complete();
      }
      kept.drop(this.id);
      this.set("done");
      this.tell("completed");
    } catch (error) { this.fail(error); }
  }

  fail(error) {
    if (this.over) return;
    this.control.abort();
    this.waiting = false;
    if (!(error instanceof Trouble)) { console.error(error); error = new Trouble("Something unexpected stopped the upload."); }
    if (error.status === 404 && this.id) {
      kept.drop(this.id);
      this.id = null;
      this.sent.clear();
      this.urls.clear();   // they lead to the batch that is gone
      return this.set("stopped", "The server no longer has this upload: it was removed, or it has expired. “Try again” starts anew.");
    }
    if (error.final && this.id) kept.drop(this.id);
    this.set(error.final ? "refused" : "stopped", error.message);
  }

  async patiently(attempt) {
    for (let failed = 1; ; failed++) {
      try { const found = await attempt(); this.waiting = false; return found; }
      catch (error) {
        if (this.signal.aborted || !error.passing || failed === ATTEMPTS) throw error;
        this.retries++; this.waiting = true; this.show();
        // 403: the address has expired. A new one helps at once.
        if (error.status !== 403 || failed > 1) await pause(error.wait || PAUSE_MS * 2 ** (failed - 1) * (0.75 + Math.random() / 2), this.signal);
        await network(this.signal);
        if (this.signal.aborted) throw error;
      }
    }
  }
  ask(method, rest, body) { return this.patiently(() => this.once(method, rest, body, this.signal)); }
  async once(method, rest, body, signal) {
    const { record } = this;
    if (record.token && Date.now() - record.had > RENEW_MS) await renew(this.api, record, signal);
    return ask(this.api, method, this.path + rest, body, signal, record.token);
  }

  async check() {
    const { file, most } = this;
    if (!/\.zip$/i.test(file.name)) throw new Trouble(`${quoted(file.name)} is no zip: its name does not end in .zip. Pack the pictures into a zip and choose that.`, { final: true });
    if (file.size > most) throw new Trouble(`${quoted(file.name)} has ${size(file.size)}; ${size(most)} is the most. Split it into several zips.`, { final: true });
    if (!file.size) throw new Trouble(`${quoted(file.name)} is empty: it may not have been saved completely. Make the zip anew.`, { final: true });
    // Every zip ends in a directory, whose last record has a signature and at most 64 KB of comment behind it.
    const end = new Uint8Array(await this.read(Math.max(0, file.size - 65_557), file.size));
    for (let at = end.length - 22; at >= 0; at--) if (end[at] === 0x50 && end[at + 1] === 0x4b && end[at + 2] === 5 && end[at + 3] === 6) return;
    throw new Trouble(`${quoted(file.name)} is no zip, or its end is missing, as after a download that broke off. Nothing was sent.`, { final: true });
  }

  async read(start, end) {
    try { return await this.file.slice(start, end).arrayBuffer(); }
    catch { throw new Trouble(`${quoted(this.file.name)} can no longer be read: it was changed, moved or removed. Cancel and choose it again.`, { unreadable: true }); }
  }
  part(number) { const step = this.upload.part_size; return this.read((number - 1) * step, Math.min(number * step, this.file.size)); }

  async begin() {
    const others = [], { name, size: bytes } = this.file;
    let twice = false;
    for (const record of kept.all(this.api)) {
      if (!await hands.take(record)) { twice ||= record.name === name && record.size === bytes; continue; }
      if (await this.resumes(record)) return;
      if (HELD.has(record.id)) others.push(record.name);
      hands.leave(record.id);
    }
    if (others.length) this.other = `This is not the file whose upload was interrupted (${quoted(others[0])}), so it is sent as a new batch.`;
    if (twice) this.other = "A file of this name and size is being uploaded in another tab; here it is sent as a batch of its own.";
    let token = null;
    const made = await this.patiently(async () => {
      token = TOKENS.fresh;
      if (token && token === TOKENS.spent) throw new Trouble("The page has not got ready for another zip yet. Try again.", { passing: true });
      return ask(this.api, "POST", "/v1/batches", { filename: name, size_bytes: bytes }, undefined, token);
    });
    TOKENS.spent = token;
    this.id = made.id;
    this.upload = { ...made.upload, arrived: [] };
    this.record = { id: made.id, api: this.api, name, size: bytes, marks: {}, token, had: Date.now() };
    await hands.take(this.record);
    kept.put(this.record);
    if (!this.over) this.tell("created");
  }

  // Whether it goes on with a record that is ours. One that the server knows no more is forgotten.
  async resumes(record) {
    try {
      const found = await this.patiently(() => arrived(this.api, record, this.signal));
      return await this.continues(record, found);
    } catch (error) {
      if (![404, 409].includes(error.status)) { hands.leave(record.id); throw error; }
      kept.drop(record.id);
      return false;
    }
  }

  // Whether this file is the one of the record: every part that arrived is compared with what is in the file now.
  async continues(record, upload) {
    if (record.size !== this.file.size || upload.size_bytes !== this.file.size) return false;
    this.upload = upload;
    const known = upload.arrived.filter(({ part }) => record.marks[part]);
    for (const { part } of known) if (mark(await this.part(part)) !== record.marks[part]) return false;
    if (!known.length && record.name !== this.file.name) return false;
    Object.assign(this, { id: record.id, record, upload: { ...upload, arrived: known } });
    return true;
  }

  async send() {
    const { parts, part_size: step, arrived } = this.upload, length = part => Math.min(step, this.file.size - (part - 1) * step);
    this.sent.clear();
    for (const { part, size_bytes: bytes } of arrived) if (bytes === length(part)) this.sent.set(part, bytes);
    this.resumed = this.done; this.speeds = [];
    const missing = Array.from({ length: parts }, (_, at) => at + 1).filter(part => !this.sent.has(part));
    this.set("uploading");
    const work = async () => { while (missing.length && !this.signal.aborted) await this.deliver(missing.shift()); };
    await Promise.all(Array.from({ length: PARALLEL }, work));
  }

  async deliver(number) {
    const bytes = await this.part(number), seen = mark(bytes);
    await this.patiently(async () => {
      const url = await this.address(number);
      try { await put(url, bytes, this.signal, loaded => { this.sent.set(number, loaded); this.glance(); }); }
      catch (error) { this.urls.delete(number); this.sent.set(number, 0); throw error; }
    });
    this.sent.set(number, bytes.byteLength);
    this.record.marks[number] = seen;
    if (!this.over) kept.put(this.record);
    this.show();
  }

  // Where a part may be put: asked for in groups, for this part and those that come next.
  async address(number) {
    if (!(this.urls.get(number)?.until > Date.now())) {
      const next = Array.from({ length: this.upload.parts - number }, (_, at) => number + 1 + at).filter(part => !this.sent.has(part) && !this.urls.has(part));
      const parts = [number, ...next.slice(0, SIGNED_AT_ONCE - 1)];
      const coming = this.once("POST", "/upload/urls", { parts }, this.signal);
      for (const part of parts) this.urls.set(part, { coming, until: Date.now() + 600_000 });
      coming.catch(() => { for (const part of parts) this.urls.delete(part); });
    }
    const { urls } = await this.urls.get(number).coming;
    return urls[number];
  }

  // What is still to be sent; nothing, if it has all arrived although we were not told.
  async plan() {
    try { return await this.ask("GET", "/upload"); }
    catch (error) {
      if (error.code !== "wrong_state" || (await this.ask("GET", "")).state === "created") throw error;
      return null;
    }
  }

  async complete(again = 2) {
    this.set("completing");
    try { await this.ask("POST", "/upload/complete"); }
    catch (error) {
      if (error.code === "parts_missing" && again) {
        this.upload = await this.ask("GET", "/upload");
        await this.send();
        return this.complete(again - 1);
      }
      // The answer to an earlier attempt was lost, and that one was the one that counted.
      if (error.code !== "wrong_state" || (await this.ask("GET", "")).state === "created") throw error;
    }
  }

  async cancel() {
    this.over = true;
    this.control.abort();
    this.set("cancelling");
    await this.running;   // a batch that is just being made is known then, and nothing else is begun
    let words = "The upload was cancelled, and what had arrived is removed.";
    // What has arrived in full is a batch by now, and is not removed by the way.
    const there = this.id && await this.once("GET", "").catch(() => null);
    if (there && there.state !== "created") {
      kept.drop(this.id);
      this.set("done");
      return this.tell("completed");
    }
    if (this.id) {
      await this.once("DELETE", "").catch(error => { if (error.status !== 404) words = `The upload was cancelled here. What had arrived stays for a while: ${error.message}`; });
      kept.drop(this.id);
    }
    this.set("cancelled", words);
    this.tell("cancelled");
  }

  facts() {
    const now = performance.now(), done = this.done;
    this.speeds.push([now, done]);
    while (this.speeds.length > 2 && now - this.speeds[0][0] > 6000) this.speeds.shift();
    const speed = Math.max(0, (done - this.speeds[0][1]) / Math.max(1, now - this.speeds[0][0]) * 1000);
    const told = [`${size(done)} of ${size(this.file.size)}`];
    if (now - this.speeds[0][0] > 400 && speed > 1000) told.push(`${size(speed)}/s`, `about ${time((this.file.size - done) / speed)} left`);
    if (this.resumed) told.push(`went on at ${size(this.resumed)}`);
    if (this.waiting) told.push(navigator.onLine === false ? "waiting for the network" : "a part did not arrive, sending it again");
    return told.join(" · ");
  }
}
