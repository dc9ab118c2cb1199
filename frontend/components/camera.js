// The cameras of this browser: how one is had, what they are called, and words for whoever gets none. live.js, which is
// read behind this file, stream.js and drawing.js, shows what they see.
const FACING = [["facing:environment", "Rear camera"], ["facing:user", "Front camera"]];
const FRAME = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

// What ends an attempt to get the camera, in words.
class NoCamera extends Error {}

const NO_CAMERA = {
  NotAllowedError: "This page may not use the camera. Allow it in the browser (the camera sign in the address line, or the site's settings) and, where it asks too, in the system's privacy settings. Then press Start.",
  NotFoundError: "No camera was found. Plug one in or switch it on, then press Start. Without one, the page Pictures takes files.",
  OverconstrainedError: "The chosen camera is not there any more. Choose another one, then press Start.",
  NotReadableError: "The camera is there but gives no picture: another program is probably using it. Close that program, then press Start.",
};
NO_CAMERA.AbortError = NO_CAMERA.NotReadableError;
NO_CAMERA.SecurityError = NO_CAMERA.NotAllowedError;

function whyNone() {
  if (globalThis.isSecureContext) return "This browser hands out no camera. A current Chrome, Edge, Firefox or Safari does.";
  return `Browsers hand out the camera only to pages that came over https, or from this machine itself (http://localhost); this one came from ${location.origin}. Whoever runs it: put it behind TLS.`;
}

// `choice`: facing:WHERE, or device:ID. Gives a stream; throws NoCamera.
async function openCamera(choice) {
  if (!navigator.mediaDevices?.getUserMedia) throw new NoCamera(whyNone());
  const [kind, which] = [choice.slice(0, choice.indexOf(":")), choice.slice(choice.indexOf(":") + 1)];
  const wanted = kind === "device" ? { deviceId: { exact: which } } : { facingMode: { ideal: which } };
  try { return await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...FRAME, ...wanted } }); }
  catch (error) { throw new NoCamera(NO_CAMERA[error.name] ?? `The camera could not be had: ${error.message || error.name}.`); }
}

const close = stream => stream?.getTracks().forEach(track => track.stop());

// [value, label] of each choice. Before the permission browsers keep the names to themselves: then front and rear.
async function cameras() {
  const all = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []) ?? [];
  const named = all.filter(device => device.kind === "videoinput" && device.deviceId && device.label);
  return named.length ? named.map(device => [`device:${device.deviceId}`, device.label]) : FACING;
}
