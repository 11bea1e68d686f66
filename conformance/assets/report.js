"use strict";
(() => {
  const { el, visible } = mqlab;
  const { report, known, command } = mqlab.data();
  const $ = (id) => document.getElementById(id);
  const breaches = new Set(["warn", "fail", "broker-died", "error"]);
  const words = { pass: "PASS", warn: "WARN", fail: "FAIL", "broker-died": "DIED", error: "ERROR", inconclusive: "INCONCLUSIVE", "not-applicable": "N/A" };
  const chip = (verdict) => el("span.v." + verdict, null, words[verdict]);
  const against = (c, id) => (c.findings || []).filter((f) => f.rule === id && !f.ok && f.grade !== "note");
  const ended = (c) => c.verdict === "error" || c.verdict === "broker-died";

  // One row for each rule, in the order of the page, with its result and its checks.
  const results = new Map(report.rules.map((r) => ["mqtt-" + r.mqtt + "/" + r.id, r]));
  const rows = [...document.querySelectorAll("details.rule")].map((details) => {
    const rule = results.get(details.id);
    const section = details.closest("section");
    const named = new Set(rule.checks || []);
    const checks = report.checks.filter((c) => c.mqtt === rule.mqtt && (named.has(c.name) || against(c, rule.id).length));
    const found = checks.flatMap((c) => against(c, rule.id).flatMap((f) => [f.expected, f.actual]));
    const text = [rule.section, rule.reason || "", details.textContent, ...checks.map((c) => c.name), ...found].join("\n").toLowerCase();
    return { details, rule, section, checks, text };
  });
  const byID = new Map(rows.map((r) => [r.details.id, r]));
  const sections = [...document.querySelectorAll("section.chapter")];

  // ---- the evidence of one rule, made when it is first unfolded

  const finding = (f) =>
    el(
      "dl.finding",
      null,
      el("dt", null, "expected"),
      el("dd", null, visible(f.expected)),
      el("dt", null, "got"),
      el("dd.got", null, visible(f.actual)),
      el("dd.where", null, [f.conn ? "connection " + f.conn : "", "after " + mqlab.duration(f.at_ns), f.passive ? "seen by the judge that watches every connection" : "", f.grade === "warn" ? "a warning" : ""].filter(Boolean).join(", ")),
    );

  const shortHex = 32;
  const bytes = (e) => {
    if (!e.bytes) return null;
    const box = el("span.bytes", null, mqlab.hex(e.bytes, shortHex));
    if (e.size > shortHex) {
      const kept = Math.min(e.size, atob(e.bytes).length);
      box.append(
        " … ",
        el("button.small", { type: "button", click: () => box.replaceChildren(mqlab.hex(e.bytes, Infinity), e.size > kept ? " … " + (e.size - kept) + " bytes were not kept" : "") }, "all " + e.size + " bytes"),
      );
    }
    return box;
  };

  const ways = { sent: ["→", "sent"], received: ["←", "received"], note: ["·", "note"] };
  const entry = (e) => {
    const [arrow, word] = ways[e.dir] || ways.note;
    const breach = e.dir === "note" && /^(fail|warn) [A-Z]+-/.test(e.text);
    return el(
      "li." + (ways[e.dir] ? e.dir : "note") + (breach ? ".breach" : ""),
      null,
      el("span.at", null, mqlab.duration(e.at_ns)),
      el("span.conn", null, visible(e.conn)),
      el("span.way", { title: word }, el("span", { "aria-hidden": "true" }, arrow), el("span.unseen", null, word)),
      el("span.what", null, visible(e.text), e.auto ? el("span.soft", null, " (answered automatically)") : null),
      bytes(e),
    );
  };

  const step = 200; // entries shown at a time
  const transcript = (entries) => {
    const list = el("ol.wire");
    const box = el("details.more", null, el("summary", null, "Transcript, " + entries.length + (entries.length === 1 ? " entry" : " entries")), list);
    let next = 0;
    const more = el("button.small", { type: "button", click: () => grow() });
    const grow = () => {
      list.append(...entries.slice(next, next + step).map(entry));
      next = Math.min(next + step, entries.length);
      more.remove();
      if (next < entries.length) {
        more.textContent = "Show more, " + (entries.length - next) + " are left";
        box.append(more);
      }
    };
    box.addEventListener("toggle", () => {
      if (box.open && next === 0) grow();
    });
    return box;
  };

  const checkBlock = (c, rule) => {
    const broken = against(c, rule.id);
    const held = (c.findings || []).filter((f) => f.rule === rule.id && f.ok);
    const notes = (c.findings || []).filter((f) => f.rule === rule.id && !f.ok && f.grade === "note");
    const facts = [c.attempts > 1 ? "failed " + (c.failed || 0) + " of " + c.attempts : "", c.elapsed_ns ? mqlab.duration(c.elapsed_ns) : ""].filter(Boolean).join(", ");
    const block = el("div.check", null, el("p", null, chip(c.verdict), el("span.name", null, visible(c.name)), el("span.soft", null, facts)));
    if (c.reason && (ended(c) || !broken.length)) block.append(el("p.pre", null, visible(c.reason)));
    block.append(...broken.map(finding));
    const list = (title, some) => some.length && block.append(el("details.more", null, el("summary", null, title), el("ul.held", null, ...some.map((f) => el("li", null, visible(f.expected), el("span.soft", null, " — got " + visible(f.actual)))))));
    list(notes.length + (notes.length === 1 ? " remark" : " remarks"), notes);
    list(held.length + (held.length === 1 ? " expectation held" : " expectations held"), held);
    if (c.transcript && c.transcript.length) {
      const t = transcript(c.transcript);
      block.append(t);
      if (broken.length && c.transcript.length <= 24) t.open = true;
    }
    return block;
  };

  const unfold = ({ details, rule, checks }) => {
    if (details.classList.contains("rendered")) return;
    details.classList.add("rendered");
    const body = details.querySelector(".body");
    const reason = body.querySelector(".reason");
    if (reason && checks.some((c) => against(c, rule.id).length || c.reason === rule.reason)) reason.classList.add("stale");
    const wording = known[rule.mqtt + "/" + rule.id] || {};
    const facts = el("dl.facts");
    const fact = (name, value) => value && facts.append(el("dt", null, name), el("dd", null, value));
    fact("Section", visible(rule.section) + (rule.level ? ", " + rule.level : ""));
    fact("Allowed", wording.pass && visible(wording.pass));
    fact("A breach", wording.fail && visible(wording.fail));
    fact("Judged", rule.judged ? rule.judged + (rule.judged === 1 ? " time" : " times") : "not at all");
    fact("Expected finding", rule.expected && visible(rule.expected_reason || "yes"));
    const again = command + (rule.title ? " --extra DIR" : "") + " --mqtt " + mqlab.quote(rule.mqtt) + " --run " + mqlab.quote(rule.id);
    const link = el("button.small", { type: "button", click: (e) => mqlab.copy(location.href.split("#")[0] + "#" + details.id, e.currentTarget) }, "Copy link");
    // Breaches first: they are what the rule was unfolded for.
    const order = [...checks].sort((a, b) => (against(b, rule.id).length || ended(b) ? 1 : 0) - (against(a, rule.id).length || ended(a) ? 1 : 0));
    body.append(facts, el("p.again", null, el("code", null, visible(again)), el("span.bar", null, mqlab.copyButton(again, "Copy command"), link)), ...order.map((c) => checkBlock(c, rule)));
  };
  for (const row of rows) {
    row.details.addEventListener("toggle", () => {
      if (row.details.open) unfold(row);
    });
    if (row.details.open) unfold(row);
  }

  // ---- filters: the state stands in the address, so that a view can be passed on

  const toggles = [...document.querySelectorAll("[data-filter]")];
  const every = toggles.map((b) => b.dataset.filter);
  const broken = every.filter((v) => breaches.has(v));
  const start = () => ({ verdicts: new Set(broken.length ? broken : every), q: "", mqtt: "", chapter: "" });
  let state = start();

  const show = () => {
    const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    const alive = new Set();
    for (const r of rows) {
      const ok = state.verdicts.has(r.rule.verdict) && (!state.mqtt || r.rule.mqtt === state.mqtt) && (!state.chapter || r.section.dataset.chapter === state.chapter) && wanted.every((w) => r.text.includes(w));
      r.details.hidden = !ok;
      if (ok) {
        n++;
        alive.add(r.section);
      }
    }
    for (const s of sections) s.hidden = !alive.has(s);
    for (const b of toggles) b.setAttribute("aria-pressed", String(state.verdicts.has(b.dataset.filter)));
    if ($("q").value !== state.q) $("q").value = state.q;
    $("mqtt").value = state.mqtt;
    $("chapter").value = state.chapter;
    $("shown").textContent = n + " of " + rows.length + (rows.length === 1 ? " rule" : " rules");
    $("none").hidden = n > 0;
  };

  const remember = () => {
    const p = new URLSearchParams();
    const all = every.every((v) => state.verdicts.has(v));
    p.set("verdict", all ? "all" : [...state.verdicts].join(","));
    for (const k of ["mqtt", "chapter", "q"]) if (state[k]) p.set(k, state[k]);
    history.replaceState(null, "", "#" + p);
  };
  const change = (f) => {
    f();
    show();
    remember();
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
      if (row.details.hidden) {
        state = { ...start(), verdicts: new Set(state.verdicts).add(row.rule.verdict) };
        show();
      }
      row.details.open = true;
      unfold(row);
      row.details.scrollIntoView({ block: "start" });
      row.details.querySelector("summary").focus({ preventScroll: true });
      return;
    }
    if (!hash.includes("=")) return;
    const p = new URLSearchParams(hash);
    const list = p.get("verdict");
    state = { verdicts: new Set(list && list !== "all" ? list.split(",") : every), q: p.get("q") || "", mqtt: p.get("mqtt") || "", chapter: p.get("chapter") || "" };
    show();
    if (p.has("chapter")) $("rules").scrollIntoView({ block: "start" });
  };

  for (const b of toggles) {
    b.addEventListener("click", () => change(() => (state.verdicts.has(b.dataset.filter) ? state.verdicts.delete(b.dataset.filter) : state.verdicts.add(b.dataset.filter))));
  }
  $("q").addEventListener("input", () => change(() => (state.q = $("q").value)));
  $("mqtt").addEventListener("change", () => change(() => (state.mqtt = $("mqtt").value)));
  $("chapter").addEventListener("change", () => change(() => (state.chapter = $("chapter").value)));
  $("all").addEventListener("click", () => change(() => (state = { ...start(), verdicts: new Set(every) })));
  $("unfold").addEventListener("click", () => {
    const shown = rows.filter((r) => !r.details.hidden);
    const open = !shown.every((r) => r.details.open);
    for (const r of shown) r.details.open = open;
    $("unfold").textContent = open ? "Fold shown" : "Unfold shown";
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) {
      e.preventDefault();
      $("q").focus();
    }
  });
  window.addEventListener("hashchange", readAddress);
  $("save").addEventListener("click", () => mqlab.save("conformance.json", "application/json", JSON.stringify(report, null, 2) + "\n"));
  $("save").hidden = false;
  document.querySelector(".filters").hidden = false;
  if (report.mqtt.split(",").length < 2) $("mqtt").hidden = true;

  show();
  readAddress();
  mqlab.ready();
})();
