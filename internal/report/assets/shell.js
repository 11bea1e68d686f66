"use strict";
// What every page has: errors kept where a test can see them, the theme, and a few helpers.
// Elements are made by el(), which sets text and never reads HTML.
const mqlab = (() => {
  const root = document.documentElement;
  const trouble = (what) => {
    if (!root.dataset.error) root.dataset.error = String(what).slice(0, 500);
  };
  window.addEventListener("error", (e) => trouble(e.message || "a resource could not be used"), true);
  window.addEventListener("unhandledrejection", (e) => trouble(e.reason));
  document.addEventListener("securitypolicyviolation", (e) => trouble("refused by policy: " + e.violatedDirective));

  const themes = ["auto", "light", "dark"];
  const store = {
    get() {
      try {
        return localStorage.getItem("mqlab-theme");
      } catch {
        return null; // a page opened from a file may have no storage
      }
    },
    set(v) {
      try {
        localStorage.setItem("mqlab-theme", v);
      } catch {
        // likewise
      }
    },
  };
  let theme = themes.includes(store.get()) ? store.get() : "auto";
  const wished = new URLSearchParams(location.search).get("theme");
  if (themes.includes(wished)) theme = wished;
  const setTheme = () => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const b = document.getElementById("theme");
    if (b) {
      b.textContent = "Theme: " + theme;
      b.hidden = false;
    }
  };
  setTheme();
  document.addEventListener("DOMContentLoaded", () => {
    setTheme();
    document.getElementById("theme").addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      store.set(theme);
      setTheme();
    });
  });

  // el("p.note", {title: "x"}, "text", node): attributes that are functions are listeners.
  const el = (what, attrs, ...children) => {
    const [tag, ...classes] = what.split(".");
    const e = document.createElement(tag);
    if (classes.length) e.className = classes.join(" ");
    for (const [k, v] of Object.entries(attrs || {})) {
      if (typeof v === "function") e.addEventListener(k, v);
      else if (v === true) e.setAttribute(k, "");
      else if (v !== false && v != null) e.setAttribute(k, v);
    }
    e.append(...children.filter((c) => c != null && c !== ""));
    return e;
  };

  // visible shows what a reader could not see and what may change how the rest looks.
  const visible = (s) =>
    s.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => {
      const n = c.codePointAt(0);
      if (n < 0x100) return "\\x" + n.toString(16).padStart(2, "0");
      return n > 0xffff ? "\\U" + n.toString(16).padStart(8, "0") : "\\u" + n.toString(16).padStart(4, "0");
    });

  // hex turns the base64 of the JSON into bytes set apart; at most limit of them.
  const hex = (base64, limit) => {
    const raw = atob(base64);
    const out = [];
    for (let i = 0; i < raw.length && i < limit; i++) out.push(raw.charCodeAt(i).toString(16).padStart(2, "0"));
    return out.join(" ");
  };

  const duration = (ns) => {
    if (ns >= 6e10) return (ns / 6e10).toFixed(1) + " min";
    if (ns >= 1e9) return (ns / 1e9).toFixed(2) + " s";
    return (ns / 1e6).toFixed(1) + " ms";
  };

  // say tells readers of the screen what happened.
  const say = (text) => {
    document.getElementById("said").textContent = text;
  };

  const copy = async (text, button) => {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = el("textarea.unseen", { readonly: true }, text);
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    const before = button.textContent;
    button.textContent = done ? "Copied" : "Select it and copy";
    say(button.textContent);
    setTimeout(() => (button.textContent = before), 1500);
  };
  const copyButton = (text, label) => el("button.small", { type: "button", click: (e) => copy(text, e.currentTarget) }, label || "Copy");

  // quote writes a word so that a shell takes it as one.
  const quote = (s) => (/^[\w.,:/@%+=-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'");

  const save = (name, type, text) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const a = el("a", { href: url, download: name });
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };

  const dataText = () => document.getElementById("data").textContent;
  return {
    el, visible, hex, duration, say, copy, copyButton, quote, save, dataText, trouble,
    data: () => JSON.parse(dataText()),
    ready: () => (root.dataset.ready = "true"),
  };
})();
