"use strict";
(() => {
  const { el, visible } = mqlab;
  const data = mqlab.data();
  const $ = (id) => document.getElementById(id);
  const words = { pass: "PASS", warn: "WARN", fail: "FAIL", "broker-died": "DIED", error: "ERROR", inconclusive: "INCONCLUSIVE", "not-applicable": "N/A" };
  const results = new Map(data.rules.map((r) => ["mqtt-" + r.mqtt + "/" + r.id, r]));
  const rows = [...document.querySelectorAll("table.side tbody tr")].map((tr) => {
    const rule = results.get(tr.id);
    const reasons = rule.results.map((c) => (c && c.reason) || "");
    return { tr, rule, block: tr.closest("section"), text: [rule.section, tr.textContent, ...reasons].join("\n").toLowerCase() };
  });
  const byID = new Map(rows.map((r) => [r.tr.id, r]));
  const blocks = [...document.querySelectorAll("section.block")];

  // The row below a rule says why each target got its verdict. It is made when it is asked for.
  const unfold = (row, open) => {
    const button = row.tr.querySelector("button.why");
    if (open && !row.more) {
      const list = el("dl");
      row.rule.results.forEach((c, i) => {
        const verdict = c ? el("span.v." + c.verdict, null, words[c.verdict]) : "not run";
        list.append(el("dt", null, visible(data.targets[i].label)), el("dd", null, verdict, " ", c && c.reason ? visible(c.reason) : ""));
      });
      row.more = el("tr.reasons", null, el("td", { colspan: data.targets.length + 2 }, list));
      row.tr.after(row.more);
    }
    if (row.more) row.more.hidden = !open || row.tr.hidden;
    button.setAttribute("aria-expanded", String(open));
  };
  for (const row of rows) {
    const button = row.tr.querySelector("button.why");
    button.addEventListener("click", () => unfold(row, button.getAttribute("aria-expanded") !== "true"));
  }

  const toggles = [...document.querySelectorAll("[data-filter]")];
  const every = toggles.map((b) => b.dataset.filter);
  const telling = every.filter((c) => c === "differs" || c === "shared");
  const start = () => ({ contrasts: new Set(telling.length ? telling : every), q: "", mqtt: "" });
  let state = start();

  const show = () => {
    const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const alive = new Set();
    let n = 0;
    for (const r of rows) {
      const ok = state.contrasts.has(r.rule.contrast) && (!state.mqtt || r.rule.mqtt === state.mqtt) && wanted.every((w) => r.text.includes(w));
      r.tr.hidden = !ok;
      if (r.more) r.more.hidden = !ok || r.tr.querySelector("button.why").getAttribute("aria-expanded") !== "true";
      if (ok) {
        n++;
        alive.add(r.block);
      }
    }
    for (const b of blocks) b.hidden = !alive.has(b);
    for (const b of toggles) b.setAttribute("aria-pressed", String(state.contrasts.has(b.dataset.filter)));
    if ($("q").value !== state.q) $("q").value = state.q;
    if ($("mqtt")) $("mqtt").value = state.mqtt;
    $("shown").textContent = n + " of " + rows.length + (rows.length === 1 ? " rule" : " rules");
    $("none").hidden = n > 0;
  };
  const change = (f) => {
    f();
    show();
    const p = new URLSearchParams({ show: every.every((c) => state.contrasts.has(c)) ? "all" : [...state.contrasts].join(",") });
    for (const k of ["mqtt", "q"]) if (state[k]) p.set(k, state[k]);
    history.replaceState(null, "", "#" + p);
  };
  const readAddress = () => {
    const hash = location.hash.slice(1);
    let id = hash;
    try {
      id = decodeURIComponent(hash);
    } catch {
      // not an address of ours: it names nothing
    }
    const row = byID.get(id);
    if (row) {
      if (row.tr.hidden) {
        state = { ...start(), contrasts: new Set(state.contrasts).add(row.rule.contrast) };
        show();
      }
      unfold(row, true);
      row.tr.scrollIntoView({ block: "center" });
      row.tr.querySelector("button.why").focus({ preventScroll: true });
      return;
    }
    if (!hash.includes("=")) return;
    const p = new URLSearchParams(hash);
    const list = p.get("show");
    state = { contrasts: new Set(list && list !== "all" ? list.split(",") : every), q: p.get("q") || "", mqtt: p.get("mqtt") || "" };
    show();
  };

  for (const b of toggles) {
    b.addEventListener("click", () => change(() => (state.contrasts.has(b.dataset.filter) ? state.contrasts.delete(b.dataset.filter) : state.contrasts.add(b.dataset.filter))));
  }
  $("q").addEventListener("input", () => change(() => (state.q = $("q").value)));
  if ($("mqtt")) $("mqtt").addEventListener("change", () => change(() => (state.mqtt = $("mqtt").value)));
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) {
      e.preventDefault();
      $("q").focus();
    }
  });
  window.addEventListener("hashchange", readAddress);
  $("save").addEventListener("click", () => mqlab.save("comparison.json", "application/json", JSON.stringify(data, null, 2) + "\n"));
  $("save").hidden = false;
  document.querySelector(".filters").hidden = false;

  show();
  readAddress();
  mqlab.ready();
})();
