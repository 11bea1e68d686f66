"use strict";
// What the pages of one report and of a comparison share: rows that are filtered by toggles, words
// and lists of choices. The state stands in the address, so that a view can be passed on.
const page = (() => {
  const $ = (id) => document.getElementById(id);
  const words = { pass: "PASS", warn: "WARN", fail: "FAIL", "broker-died": "DIED", error: "ERROR", inconclusive: "INCONCLUSIVE", "not-applicable": "N/A" };

  // filter takes over the controls of the page. A row has an id, a node, a kind that the toggles name, a text in lower case,
  // a group that is hidden with its last row, and a value for each of the choices.
  //   key: the parameter of the address that lists the kinds; first: the kinds that are shown at first
  //   choices: the ids of lists of choices, such as "mqtt"
  //   shown(row): called once a row is shown or hidden; reveal(row): unfolds the row that the address names
  //   entered(params): called for an address that names a view
  //   file, data: what the button to save is for
  const filter = ({ rows, groups, key, first, choices, shown, reveal, entered, file, data }) => {
    const byID = new Map(rows.map((r) => [r.id, r]));
    const toggles = [...document.querySelectorAll("[data-filter]")];
    const every = toggles.map((b) => b.dataset.filter);
    const chosen = every.filter(first);
    const fields = ["q", ...choices].filter($);
    const empty = (kinds) => ({ kinds: new Set(kinds), ...Object.fromEntries(["q", ...choices].map((k) => [k, ""])) });
    const start = () => empty(chosen.length ? chosen : every);
    let state = start();

    const show = () => {
      const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
      const alive = new Set();
      let n = 0;
      for (const r of rows) {
        const ok = state.kinds.has(r.kind) && choices.every((k) => !state[k] || r[k] === state[k]) && wanted.every((w) => r.text.includes(w));
        r.node.hidden = !ok;
        shown?.(r);
        if (ok) {
          n++;
          alive.add(r.group);
        }
      }
      for (const g of groups) g.hidden = !alive.has(g);
      for (const b of toggles) b.setAttribute("aria-pressed", String(state.kinds.has(b.dataset.filter)));
      for (const k of fields) if ($(k).value !== state[k]) $(k).value = state[k];
      $("shown").textContent = n + " of " + rows.length + (rows.length === 1 ? " rule" : " rules");
      $("none").hidden = n > 0;
    };

    const change = (f) => {
      f();
      show();
      const p = new URLSearchParams({ [key]: every.every((k) => state.kinds.has(k)) ? "all" : [...state.kinds].join(",") });
      for (const k of [...choices, "q"]) if (state[k]) p.set(k, state[k]);
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
        if (row.node.hidden) {
          state = empty([...state.kinds, row.kind]);
          show();
        }
        reveal(row);
        return;
      }
      if (!hash.includes("=")) return;
      const p = new URLSearchParams(hash);
      const list = p.get(key);
      state = empty(list && list !== "all" ? list.split(",") : every);
      for (const k of ["q", ...choices]) state[k] = p.get(k) || "";
      show();
      entered?.(p);
    };

    for (const b of toggles) {
      const kind = b.dataset.filter;
      b.addEventListener("click", () => change(() => (state.kinds.has(kind) ? state.kinds.delete(kind) : state.kinds.add(kind))));
    }
    for (const k of fields) $(k).addEventListener(k === "q" ? "input" : "change", () => change(() => (state[k] = $(k).value)));
    $("all")?.addEventListener("click", () => change(() => (state = empty(every))));
    document.addEventListener("keydown", (e) => {
      if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) {
        e.preventDefault();
        $("q").focus();
      }
    });
    window.addEventListener("hashchange", readAddress);
    $("save").addEventListener("click", () => mqlab.save(file, "application/json", JSON.stringify(data, null, 2) + "\n"));
    $("save").hidden = false;
    document.querySelector(".filters").hidden = false;
    show();
    readAddress();
    mqlab.ready();
  };

  return { $, words, filter };
})();
