// The form of the page, made from what the server says of its model; what it sends, and what comes back.
// Nothing of the model's or of an answer's is ever taken for HTML: text goes into text nodes and values only.
"use strict";

const model = JSON.parse(document.getElementById("model").textContent);
const form = document.getElementById("form");
const fields = document.getElementById("fields");
const send = document.getElementById("send");
const note = document.getElementById("note");

let count = 0;

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || ["for", "role"].includes(key)) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

function fieldset(title, ...children) {
  return element("fieldset", {}, element("legend", { textContent: title }), ...children);
}

// A label and what it is for.
function labelled(text, hint, input, className = "") {
  input.id = input.id || `field-${++count}`;
  // A long name breaks behind an underscore, not within a word.
  const words = text.split("_").flatMap((word, at) => (at ? ["_", element("wbr"), word] : [word]));
  const label = element("label", { for: input.id }, ...words);
  if (hint) label.append(" ", element("small", { textContent: hint }));
  return element("div", { className }, label, input);
}

class Wrong extends Error {
  constructor(input, message) {
    super(message);
    this.input = input;
  }
}

// ---- values: a field, and how it is read

function choice(options, chosen) {
  const select = element("select");
  for (const [value, text] of options) select.append(element("option", { value, textContent: text }));
  select.value = chosen;
  return select;
}

function parsedJson(input, what) {
  try {
    return JSON.parse(input.value);
  } catch (error) {
    throw new Wrong(input, `${what} is not JSON: ${error.message}`);
  }
}

const NUMBERS = ["integer", "long", "float", "double"];

// A field for a value of one of MLflow's types; its `read` gives undefined where it was left empty.
function valueField(name, type, required, value, hint = required ? type : `${type}, may be empty`) {
  let input, read;
  const given = value === null || value === undefined ? "" : String(value);
  if (type === "boolean") {
    input = choice([["", "–"], ["true", "true"], ["false", "false"]], given);
    read = () => (input.value === "" ? undefined : input.value === "true");
  } else if (NUMBERS.includes(type)) {
    input = element("input", { type: "text", inputMode: "decimal", autocomplete: "off", value: given });
    const isWhole = type === "integer" || type === "long";
    read = () => {
      const text = input.value.trim();
      if (text === "") return undefined;
      const number = Number(text);
      if (!Number.isFinite(number)) throw new Wrong(input, `${name} is not a number`);
      if (isWhole && !Number.isSafeInteger(number)) throw new Wrong(input, `${name} is not a whole number`);
      return number;
    };
  } else {
    input = element("input", { type: "text", autocomplete: "off", value: given });
    read = () => (input.value === "" && !required ? undefined : input.value);
  }
  input.required = required && type !== "string";
  return { name, node: labelled(name, hint, input), read };
}

function jsonField(name, value, hint) {
  const input = element("textarea", { value: JSON.stringify(value, null, 2), spellcheck: false });
  return { name, node: labelled(name, hint, input, "wide"), read: () => parsedJson(input, name) };
}

const WORDS = { boolean: "yes or no", double: "number", string: "text" };

function typeOf(value) {
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "number") return "double";
  return typeof value === "string" ? "string" : "json";
}

// ---- recordings

// PCM of 16 bits, one channel: what every library of every model reads.
function wav(chunks, rate) {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const word = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) {
      const limited = Math.max(-1, Math.min(1, sample));
      view.setInt16(at, Math.round(limited * 32767), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

// Begins to listen; gives what ends it and returns the recording. What browsers do for telephony is switched off.
async function record(onSecond) {
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext();
  const chunks = [];
  let samples = 0;
  const letGo = () => {
    stream.getTracks().forEach((track) => track.stop());
    return context.close();
  };
  try {
    await context.audioWorklet.addModule("recorder.js");
    const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
    recorder.port.onmessage = ({ data }) => {
      chunks.push(data);
      samples += data.length;
      onSecond(Math.floor(samples / context.sampleRate));
    };
    context.createMediaStreamSource(stream).connect(recorder);
    // It gives silence; without an end, browsers need not run it.
    recorder.connect(context.destination);
  } catch (error) {
    await letGo();
    throw error;
  }
  return async () => {
    await letGo();
    return wav(chunks, context.sampleRate);
  };
}

const MAY_RECORD = window.isSecureContext && Boolean(navigator.mediaDevices) && "AudioWorkletNode" in window;

// One recording: its name, a file or a microphone, and a way to hear it.
function part(name, isFixed) {
  const nameInput = element("input", { type: "text", value: name, required: true, autocomplete: "off" });
  const file = element("input", { type: "file", accept: "audio/*" });
  const player = element("audio", { controls: true, hidden: true, "aria-label": `Recording ${name}` });
  const button = element("button", { type: "button", textContent: "Record", hidden: !MAY_RECORD });
  const says = element("span", { className: "quiet", role: "status" });
  const kept = { blob: null, filename: "" };
  let stop = null;

  function keep(blob, filename) {
    if (player.src) URL.revokeObjectURL(player.src);
    kept.blob = blob;
    kept.filename = filename;
    player.hidden = !blob;
    if (blob) player.src = URL.createObjectURL(blob);
    else player.removeAttribute("src");
    update();
  }
  file.addEventListener("change", () => {
    const chosen = file.files[0] || null;
    says.textContent = "";
    keep(chosen, chosen ? chosen.name : "");
  });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      if (stop) {
        const end = stop;
        stop = null;
        const blob = await end();
        file.value = "";
        const seconds = ((blob.size - 44) / 2 / new DataView(await blob.slice(24, 28).arrayBuffer()).getUint32(0, true));
        keep(blob, `${nameOf()}.wav`);
        says.textContent = `recorded ${seconds.toFixed(1)} s`;
      } else {
        says.textContent = "";
        stop = await record((second) => { button.textContent = `Stop (${second} s)`; });
      }
      button.textContent = stop ? "Stop (0 s)" : "Record again";
      button.classList.toggle("recording", Boolean(stop));
    } catch (error) {
      says.textContent = `cannot record: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  });
  const nameOf = () => (isFixed ? name : nameInput.value.trim());
  const title = isFixed
    ? labelled(name, "file", file)
    : element("div", {}, labelled("Name", "as the model knows the recording", nameInput), labelled("File", "", file));
  const node = element("div", { className: "part" }, title, element("div", { className: "row" }, button, says), player);
  return {
    node,
    read() {
      if (stop) throw new Wrong(button, `stop the recording ${nameOf()} first`);
      if (!nameOf()) throw new Wrong(nameInput, "a recording has no name");
      return kept.blob && { name: nameOf(), blob: kept.blob, filename: kept.filename };
    },
  };
}

// ---- the three kinds of form; each gives what is to be sent

function recordingsForm() {
  // Whoever logged an example has named its recordings.
  const parts = model.parts.length ? model.parts.map((name) => part(name, true)) : [part("audio", false)];
  const values = Object.entries(model.metadata).map(([name, value]) => {
    const type = typeOf(value);
    return type === "json" ? jsonField(name, value, "JSON") : valueField(name, type, false, value, WORDS[type]);
  });
  const more = element("textarea", { value: "{}", spellcheck: false });
  const list = element("div", {}, ...parts.map((one) => one.node));
  const add = element("button", { type: "button", textContent: "Add a recording" });
  add.addEventListener("click", () => {
    const one = part("", false);
    parts.push(one);
    list.append(one.node);
    one.node.querySelector("input").focus();
  });
  const recordings = fieldset("Recordings", list, element("div", { className: "row" }, add));
  if (!MAY_RECORD) {
    const why = "Browsers record over https:// and at localhost only. You can choose a file.";
    recordings.append(element("p", { className: "quiet", textContent: why }));
  }
  const known = element("div", { className: "fields" }, ...values.map((value) => value.node));
  const moreField = labelled("More metadata", "a JSON object", more);
  const metadata = fieldset("Metadata", known, values.length ? element("details", {},
    element("summary", { textContent: "More metadata" }), moreField) : moreField);
  fields.append(recordings, metadata);

  return () => {
    const read = values.map((value) => [value.name, value.read()]).filter(([, value]) => value !== undefined);
    const added = parsedJson(more, "More metadata");
    if (added === null || typeof added !== "object" || Array.isArray(added)) {
      throw new Wrong(more, "More metadata is not a JSON object");
    }
    const all = { ...Object.fromEntries(read), ...added };
    const files = parts.map((one) => one.read()).filter(Boolean);
    const body = new FormData();
    body.append("metadata", JSON.stringify(all));
    for (const { name, blob, filename } of files) body.append(name, blob, filename);
    const size = files.reduce((sum, { blob }) => sum + blob.size, 0);
    return { body, headers: {}, size, metadata: all, files };
  };
}

function tableForm() {
  const rows = [];
  const list = element("div");
  function addRow(values) {
    const cells = model.columns.map((column, at) => valueField(column.name, column.type, column.required, values[at]));
    rows.push(cells);
    const node = element("div", { className: "record", role: "group", "aria-label": `Row ${rows.length}` });
    const line = element("div", { className: "fields" }, ...cells.map((cell) => cell.node));
    node.append(line);
    const remove = element("button", { type: "button", textContent: "Remove row" });
    remove.addEventListener("click", () => {
      rows.splice(rows.indexOf(cells), 1);
      node.remove();
      update();
    });
    if (rows.length > 1) line.append(remove);
    list.append(node);
    return node;
  }
  model.rows.forEach(addRow);
  const add = element("button", { type: "button", textContent: "Add a row" });
  add.addEventListener("click", () => {
    addRow(model.rows[0] || []).querySelector("input, select").focus();
    update();
  });
  fields.append(fieldset("Rows", list, element("div", { className: "row" }, add)));
  const params = Object.keys(model.params).length ? jsonField("Parameters", model.params, "a JSON object") : null;
  if (params) fields.append(fieldset("Parameters", params.node));

  return () => {
    const data = rows.map((cells) => cells.map((cell) => {
      const value = cell.read();
      return value === undefined ? null : value;
    }));
    const columns = model.columns.map((column) => column.name);
    return jsonRequest({ dataframe_split: { columns, data }, ...(params ? { params: params.read() } : {}) });
  };
}

function jsonForm() {
  const field = jsonField("Request", JSON.parse(model.body), "JSON, as MLflow's scoring protocol has it");
  fields.append(fieldset("Request", field.node));
  return () => jsonRequest(field.read());
}

function jsonRequest(value) {
  const body = JSON.stringify(value);
  return { body, headers: { "Content-Type": "application/json" }, size: body.length, value };
}

const makeForm = { recordings: recordingsForm, table: tableForm, json: jsonForm }[model.kind];

// ---- the same request for other clients

const address = new URL(model.path.slice(1), document.baseURI).href;

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function asCurl(request) {
  if (request.value) {
    return `curl ${quoted(address)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(request.body)}`;
  }
  const parts = request.files.map(({ name, filename }) => {
    const path = filename.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
    return `-F ${quoted(`${name}=@"${path}"`)}`;
  });
  // Not -F: that would look for ;type= in the text.
  const metadata = `--form-string ${quoted(`metadata=${JSON.stringify(request.metadata)}`)}`;
  return [`curl ${quoted(address)}`, metadata, ...parts].join(" \\\n  ");
}

function pythonLiteral(value, indent) {
  if (value === null) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const items = Array.isArray(value)
    ? value.map((one) => pythonLiteral(one, inner))
    : Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${pythonLiteral(one, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  if (indent.length + line.length < 80) return line;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

function asPython(request) {
  const lines = ["import json", "", "import requests", ""];
  const url = JSON.stringify(address);
  if (request.value) {
    lines.splice(0, 2);
    lines.push(`answer = requests.post(\n    ${url},\n    json=${pythonLiteral(request.value, "    ")},\n)`);
  } else {
    lines.push(`metadata = ${pythonLiteral(request.metadata, "")}`);
    lines.push("files = {", '    "metadata": (None, json.dumps(metadata)),');
    for (const { name, filename } of request.files) {
      const path = JSON.stringify(filename);
      lines.push(`    ${JSON.stringify(name)}: (${path}, open(${path}, "rb")),`);
    }
    lines.push("}", `answer = requests.post(${url}, files=files)`);
  }
  lines.push("answer.raise_for_status()", 'print(answer.json(), answer.headers["Model-Release"])');
  return lines.join("\n");
}

const shown = { curl: document.getElementById("curl"), python: document.getElementById("python") };

// The request as it is filled in now; empty while it cannot be read.
function update() {
  try {
    const request = readRequest();
    shown.curl.textContent = asCurl(request);
    shown.python.textContent = asPython(request);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    shown.curl.textContent = shown.python.textContent = `(${error.message})`;
  }
}

async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP there is no clipboard for pages but this one.
    getSelection().selectAllChildren(from);
    document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    const from = shown[button.dataset.copies];
    await copy(from.textContent, from);
    note.textContent = "Copied.";
  });
}

// ---- sending, and what comes back

const MIB = 1 << 20;

function refuse(error) {
  if (!(error instanceof Wrong)) throw error;
  note.textContent = `Cannot send: ${error.message}.`;
  note.className = "bad";
  error.input.setAttribute("aria-invalid", "true");
  error.input.focus();
}

function verdictOf(answer) {
  if (answer && typeof answer.diagnosis === "string") return answer.diagnosis;
  const predictions = answer && answer.predictions;
  const isShort = Array.isArray(predictions) && predictions.length > 0 && predictions.length <= 5;
  return isShort && predictions.every((one) => one === null || typeof one !== "object") ? predictions.join(", ") : "";
}

function show(response, text, seconds) {
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // Shown as it came.
  }
  const verdict = document.getElementById("verdict");
  const message = answer && typeof answer.message === "string" ? answer.message : `status ${response.status}`;
  verdict.textContent = response.ok ? verdictOf(answer) : message;
  verdict.classList.toggle("bad", !response.ok);
  const release = response.headers.get("Model-Release") || "";
  document.getElementById("facts").textContent =
    `Status ${response.status}, ${seconds.toFixed(3)} s with the way there and back, answered by ${release}`;
  // As it came: a number of many digits would not be the same after JavaScript has read it.
  document.getElementById("answer").textContent = text;
  document.getElementById("result").hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  note.className = "quiet";
  let request;
  try {
    request = readRequest();
    if (request.size > model.maxBody) {
      const size = (request.size / MIB).toFixed(1);
      throw new Wrong(send, `this has ${size} MiB, and the server takes ${(model.maxBody / MIB).toFixed(0)} MiB`);
    }
  } catch (error) {
    refuse(error);
    return;
  }
  send.disabled = true;
  note.textContent = "Waiting for the answer…";
  const began = performance.now();
  try {
    const response = await fetch(address, { method: "POST", body: request.body, headers: request.headers });
    const text = await response.text();
    show(response, text, (performance.now() - began) / 1000);
    note.textContent = response.ok ? "Answered." : "The request was refused, or the model failed.";
  } catch (error) {
    note.textContent = `No answer: ${error.message}.`;
    note.className = "bad";
  } finally {
    send.disabled = false;
  }
});

const readRequest = makeForm();
form.addEventListener("input", update);
update();
