"use strict";
(() => {
  const { el, visible } = mqlab;
  const data = mqlab.data();
  const results = new Map(data.rules.map((r) => ["mqtt-" + r.mqtt + "/" + r.id, r]));
  const rows = [...document.querySelectorAll("table.side tbody tr")].map((tr) => {
    const rule = results.get(tr.id);
    const reasons = rule.results.map((c) => (c && c.reason) || "");
    return { id: tr.id, node: tr, kind: rule.contrast, group: tr.closest("section"), mqtt: rule.mqtt, tr, rule, text: [rule.section, tr.textContent, ...reasons].join("\n").toLowerCase() };
  });

  // The row below a rule says why each target got its verdict. It is made when it is asked for.
  const unfold = (row, open) => {
    const button = row.tr.querySelector("button.why");
    if (open && !row.more) {
      const list = el("dl");
      row.rule.results.forEach((c, i) => {
        const verdict = c ? el("span.v." + c.verdict, null, page.words[c.verdict]) : "not run";
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

  page.filter({
    rows,
    groups: [...document.querySelectorAll("section.block")],
    key: "show",
    first: (contrast) => contrast === "differs" || contrast === "shared",
    choices: ["mqtt"],
    shown: (r) => {
      if (r.more) r.more.hidden = r.tr.hidden || r.tr.querySelector("button.why").getAttribute("aria-expanded") !== "true";
    },
    reveal: (row) => {
      unfold(row, true);
      row.tr.scrollIntoView({ block: "center" });
      row.tr.querySelector("button.why").focus({ preventScroll: true });
    },
    file: "comparison.json",
    data,
  });
})();
