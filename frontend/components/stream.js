// One WebSocket after the other to /v1/live: frames out, one at a time; answers in; again, after a pause, when it is lost.
const PAUSES_S = [1, 2, 4, 8, 15, 30], ASK_MS = 10_000;
const ANSWER_MS = 60_000;   // the server itself closes after 40 s of silence, but over a path that is dead nobody hears of it
const STALE = 3;   // connections with a token that has run out, as after a night's sleep: the page brings another within seconds

// How docs/live.md says that it ends: whether to connect again by itself, and words.
const ENDS = {
  draining: [true, "The server is about to stop, and another one will answer."],
  rate: [false, "The server takes fewer frames a second than this browser sent, and closed the connection. Press Start to begin anew."],
  slow_reader: [false, "The answers did not get through to this browser in time, so the server closed the connection. The network may be slow. Press Start to begin anew."],
  idle: [false, "No frame reached the server for a while, so it closed the connection. Press Start to begin anew."],
  unauthorized: [false, "The key of this page was revoked, so the server closed the connection. Whoever runs it: give the page another."],
  not_binary: [false, "The server did not understand what this browser sent: page and server may be of different versions. Reload the page."],
};
const TOO_LARGE = "The server closed the connection because a frame was larger than it takes. Choose another camera, then press Start.";
const SILENT = "The connection was silent for too long.";
const MUTE = "The server has not answered for a minute.";
const LOST = "The connection was lost.";

// Of a close frame: { again, words }.
function ending(code, reason) {
  const at = reason.indexOf(": "), word = at > 0 ? reason.slice(0, at) : "";
  const [again, words] = ENDS[word] ?? [];
  if (words) return { again, words };
  if (code === 1012) return { again: true, words: ENDS.draining[1] };
  if (code === 1009) return { again: false, words: TOO_LARGE };
  if (/keepalive/.test(reason)) return { again: true, words: SILENT };
  if (code === 1011 || code === 1008 || code === 1003) return { again: false, words: `The server closed the connection: ${at > 0 ? reason.slice(at + 2) : reason || `code ${code}.`}` };
  return { again: true, words: LOST };
}

// Why a WebSocket did not open: its script is told nothing, but GET of the same address says it.
async function refusal(address) {
  const clock = new AbortController(), timer = setTimeout(() => clock.abort(), ASK_MS);
  try {
    const response = await fetch(address, { cache: "no-store", signal: clock.signal });
    if (response.status === 426) return { again: true, words: "The server is there, but no WebSocket to it opens: something between it and this browser may not let them pass." };
    const said = (await response.json().catch(() => null))?.error?.message ?? `The server answered with status ${response.status}.`;
    return { again: response.status === 429 || response.status >= 500, stale: response.status === 401, words: said };
  } catch {
    const server = new URL(address).origin;
    return { again: true, words: `This browser cannot reach the server at ${server}, or that does not know this page: its NINEFOLD_PAGE_ORIGINS must name ${location.origin}.` };
  } finally { clearTimeout(timer); }
}

// `address`: a function, for its token changes. `hear`: ready(), answer(answer, ms there and back), waiting(words), over(words). Begun by connect().
class Line {
  constructor(address, hear) {
    Object.assign(this, { address, hear, sent: null, losses: 0, stales: 0, closed: false });
  }

  get open() { return this.socket?.readyState === WebSocket.OPEN; }
  get free() { return this.open && this.sent === null; }

  connect() {
    const address = this.address();
    let opened = false;
    this.sent = null;
    try { this.socket = new WebSocket(address.replace(/^http/, "ws")); }
    catch { this.end(`This page came over https, and the server's address is ${new URL(address).origin}: browsers allow no such mix. Whoever runs it: set NINEFOLD_PUBLIC_API_URL.`); return; }
    this.socket.onopen = () => { opened = true; this.hear.ready(); };
    this.socket.onmessage = event => this.answered(event.data);
    this.socket.onclose = event => this.lost(opened ? Promise.resolve(ending(event.code, event.reason)) : refusal(address));
  }

  send(frame) {
    this.sent = performance.now();
    this.socket.send(frame);
    this.patience = setTimeout(() => this.giveUp(), ANSWER_MS);
  }

  // Closing may take as long again, and what comes of it is no news.
  giveUp() {
    Object.assign(this.socket, { onmessage: null, onclose: null });
    this.socket.close(1000);
    this.lost({ again: true, words: MUTE });
  }

  answered(text) {
    const took = performance.now() - this.sent;
    clearTimeout(this.patience);
    this.sent = null;
    this.losses = this.stales = 0;
    this.hear.answer(JSON.parse(text), took);
  }

  async lost(coming) {
    clearTimeout(this.patience);
    if (this.closed) return;
    const { again, stale, words } = await coming;
    if (this.closed) return;
    if (!again && !(stale && this.stales++ < STALE)) return this.end(words);
    const seconds = PAUSES_S[Math.min(this.losses++, PAUSES_S.length - 1)];
    this.hear.waiting(`${words} Connecting again in ${seconds} s.`);
    this.timer = setTimeout(() => this.connect(), 1000 * seconds);
  }

  end(words) { this.close(); this.hear.over(words); }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    this.socket?.close(1000);
  }
}
