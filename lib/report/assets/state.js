"use strict";
const data = name => JSON.parse(document.getElementById(`data-${name}`).textContent);
const chart_bases = data("bases"), figures = data("figures"), mechanisms = data("mechanisms"), runs = data("runs");

// What is shown, as the address's fragment, so that a view can be sent:
// #section&bubbles=ListOps|4,096 tokens|logarithmic|tensors&highlight=performer,linear&runs=words
const state = { section: "", parts: new Map() };

const read_state = () => {
  const [section, ...parts] = location.hash.slice(1).split("&");
  const pairs = (section.includes("=") ? [section, ...parts] : parts).map(part => part.split("="));
  state.section = section.includes("=") ? "" : section;
  // A link of the table of contents names a section and leaves the rest as it is.
  if (pairs.length) state.parts = new Map(pairs.map(([key, value]) => [key, decodeURIComponent((value ?? "").replaceAll("+", " "))]));
};

const write_state = (key, value) => {
  if (value) state.parts.set(key, value);
  else state.parts.delete(key);
  show_address();
};

const show_address = () => {
  const encode = text => encodeURIComponent(text).replaceAll("%20", "+").replaceAll("%7C", "|").replaceAll("%2C", ",");
  const fragment = [state.section, ...[...state.parts].map(([key, value]) => `${key}=${encode(value)}`)].filter(Boolean).join("&");
  if (location.hash.slice(1) !== fragment) history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
};

read_state();
