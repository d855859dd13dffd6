// Runs inside the page: returns a list of sentences, one per thing that is wrong. Its argument is the screen's width.
const width = arguments[0];
const problems = [];
const report = (element, text) => {
  const words = (element.innerText || element.outerHTML || "").trim().slice(0, 50);
  problems.push(`${element.tagName.toLowerCase()} "${words}": ${text}`);
};

// Any colour syntax becomes [r, g, b, a] by painting one pixel with it.
const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const painted = (colour) => {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = ([r, g, b, a], under) =>
  [r, g, b].map((value, index) => value * a + under[index] * (1 - a)).concat(1);

const backgroundOf = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.backgroundImage !== "none") report(at, "has a background image, so its contrast cannot be computed");
    layers.push(painted(style.backgroundColor));
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const schemes = getComputedStyle(document.documentElement).colorScheme;
  const canvas = dark && schemes.includes("dark") ? [18, 18, 18, 1] : [255, 255, 255, 1];
  return layers.reduceRight((under, layer) => over(layer, under), canvas);
};
const opacityOf = (element) => {
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  return opacity;
};
const luminance = (colour) => {
  const linear = colour.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const ratioOf = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const visible = (element) => element.checkVisibility({ visibilityProperty: true });

const checkContrast = (element) => {
  const style = getComputedStyle(element);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const background = backgroundOf(element);
  const colour = painted(style.color);
  colour[3] *= opacityOf(element);
  const ratio = ratioOf(over(colour, background), background);
  if (ratio < (large ? 3 : 4.5)) report(element, `contrast is ${ratio.toFixed(2)}`);
  if (size < 12) report(element, `text is ${size} pixels high`);
};

const checkFit = (element, node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  let block = element;
  while (getComputedStyle(block).display === "inline" && block.parentElement) block = block.parentElement;
  const box = block.getBoundingClientRect();
  for (const line of range.getClientRects()) {
    if (line.right > width + 0.5 || line.left < -0.5) report(element, "text runs off the screen");
    if (line.right > box.right + 1 || line.left < box.left - 1) report(element, "text runs out of its box");
  }
};

// A visible focus: an outline at least two pixels wide that stands out from what is behind it (WCAG 1.4.11).
const checkFocus = (element) => {
  element.focus({ focusVisible: true });
  const style = getComputedStyle(element);
  const background = backgroundOf(element.parentElement);
  const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const ratio = ratioOf(over(painted(style.outlineColor), background), background);
  if (!shown || ratio < 3) report(element, "its focus cannot be seen");
  if (element.getBoundingClientRect().height < 24 && getComputedStyle(element).display !== "inline") {
    report(element, "is too small to touch");
  }
  element.blur();
};

const root = document.documentElement;
if (root.scrollWidth > width) problems.push(`the page is ${root.scrollWidth} pixels wide, the screen ${width}`);
for (const element of document.body.querySelectorAll("*")) {
  const box = element.getBoundingClientRect();
  if (visible(element) && box.right > width + 0.5) report(element, "reaches beyond the screen");
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let words = 0;
for (let node = texts.nextNode(); node; node = texts.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || ["STYLE", "SCRIPT"].includes(element.tagName) || !visible(element)) continue;
  words += 1;
  checkContrast(element);
  checkFit(element, node);
}
if (words === 0) problems.push("the page shows no text");
document.querySelectorAll("a[href], button, input:not([type=hidden])").forEach(checkFocus);
if (!document.title) problems.push("the page has no title");
if (!root.lang) problems.push("the page has no language");
if (document.querySelectorAll("main").length !== 1) problems.push("the page has not exactly one main");
if (document.querySelectorAll("h1").length !== 1) problems.push("the page has not exactly one h1");
return [...new Set(problems)];
