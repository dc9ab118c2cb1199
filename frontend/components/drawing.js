// A judged frame with what was said of it. `scale`: pixels of the canvas for one of the screen, by which lines and letters grow.
const COLOURS = ["#4fd1c5", "#f6ad55", "#f687b3", "#90cdf4", "#faf089", "#b794f4", "#9ae6b4", "#fc8181"];
const PLATE = "rgb(9 14 13 / .82)", INK = "#ffffff";

const percent = share => share >= .0005 ? `${(100 * share).toFixed(share < .0995 ? 1 : 0)} %` : "<0.1 %";
// Of a thing that is followed the same in every frame; of others by their class.
const colour = box => COLOURS[Math.abs(box.track ?? box.index ?? 0) % COLOURS.length];
const flipped = ([left, top, right, bottom]) => [1 - right, top, 1 - left, bottom];
// The boxes as they lie in the picture as it is seen.
const placed = (boxes, mirror) => mirror ? boxes.map(each => ({ ...each, box: flipped(each.box) })) : boxes;

function paint(canvas, frame, answer, mirror, scale) {
  const { width, height } = canvas, pen = canvas.getContext("2d");
  pen.setTransform(mirror ? -1 : 1, 0, 0, 1, mirror ? width : 0, 0);
  pen.drawImage(frame, 0, 0, width, height);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const boxes = placed(answer?.boxes ?? [], mirror);
  for (const each of [...boxes].reverse()) outline(pen, each, scale);   // the surest is drawn last, above the others
  for (const each of [...boxes].reverse()) {
    const [left, top] = [each.box[0] * width, each.box[1] * height], size = 14 * scale;
    plate(pen, each, colour(each), left, top - 1.7 * size >= 0 ? top - 1.7 * size : top, size);
  }
  const best = answer?.labels?.[0], size = 17 * scale;
  if (best) plate(pen, best, COLOURS[0], 12 * scale, height - 12 * scale - 1.7 * size, size);
}

function outline(pen, each, scale) {
  const { width, height } = pen.canvas, [left, top, right, bottom] = each.box;
  for (const [line, style] of [[6 * scale, "rgb(0 0 0 / .5)"], [3 * scale, colour(each)]]) {
    pen.lineWidth = line;
    pen.strokeStyle = style;
    pen.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  }
}

function plate(pen, { label, probability }, edge, left, top, size) {
  const { width } = pen.canvas, gap = .55 * size;
  pen.font = `600 ${size}px system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif`;
  pen.textBaseline = "middle";
  const words = fitting(pen, label, ` ${percent(probability)}`, width - 3 * gap), long = pen.measureText(words).width + 2.4 * gap;
  const at = Math.max(0, Math.min(left, width - long));
  pen.fillStyle = PLATE;
  pen.fillRect(at, top, long, 1.7 * size);
  pen.fillStyle = edge;
  pen.fillRect(at, top, .3 * gap, 1.7 * size);
  pen.fillStyle = INK;
  pen.fillText(words, at + 1.2 * gap, top + .9 * size);
}

function fitting(pen, label, tail, most) {
  let text = label;
  while (text.length > 1 && pen.measureText(text + tail).width > most) text = `${text.slice(0, -2)}…`;
  return text + tail;
}
