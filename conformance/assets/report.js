"use strict";
(() => {
  const { el, visible } = mqlab;
  const { report, known, command } = mqlab.data();
  const { $, words } = page;
  const breaches = new Set(["warn", "fail", "broker-died", "error"]);
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
    return { id: details.id, node: details, kind: rule.verdict, group: section, mqtt: rule.mqtt, chapter: section.dataset.chapter, details, rule, checks, text };
  });

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
    const again = report.client
      ? "mqlab conformance client --run " + mqlab.quote(rule.id) + " -- " + report.client
      : command + (rule.title ? " --extra " + mqlab.quote(report.extra || "DIR") : "") + " --mqtt " + mqlab.quote(rule.mqtt) + " --run " + mqlab.quote(rule.id);
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

  $("unfold").addEventListener("click", () => {
    const shown = rows.filter((r) => !r.details.hidden);
    const open = !shown.every((r) => r.details.open);
    for (const r of shown) r.details.open = open;
    $("unfold").textContent = open ? "Fold shown" : "Unfold shown";
  });
  if (report.mqtt.split(",").length < 2) $("mqtt").hidden = true;

  page.filter({
    rows,
    groups: [...document.querySelectorAll("section.chapter")],
    key: "verdict",
    first: (verdict) => breaches.has(verdict),
    choices: ["mqtt", "chapter"],
    reveal: (row) => {
      row.details.open = true;
      unfold(row);
      row.details.scrollIntoView({ block: "start" });
      row.details.querySelector("summary").focus({ preventScroll: true });
    },
    entered: (p) => p.has("chapter") && $("rules").scrollIntoView({ block: "start" }),
    file: "conformance.json",
    data: report,
  });
})();
