"use strict";
// Draws the plots that the page's data describe, in the colours of the theme.
(() => {
  const { charts } = mqlab.data();
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const digits = (v) => (Math.abs(v) < 9.995 ? v.toFixed(2) : Math.abs(v) < 99.95 ? v.toFixed(1) : v.toFixed(0));
  const short = (v) => digits(v).replace(/\.0+$|(\.\d*?)0+$/, "$1");
  const scaled = (v, base, units, gap) => {
    let i = 0;
    while (Math.abs(v) >= base && i < units.length - 1) {
      v /= base;
      i++;
    }
    return short(v) + (units[i] ? gap + units[i] : "");
  };
  const formats = {
    rate: (v) => scaled(v, 1000, ["", "k", "M", "G"], "") + "/s",
    count: (v) => scaled(v, 1000, ["", "k", "M", "G"], ""),
    cores: (v) => short(v),
    bytes: (v) => scaled(v, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], " "),
    us: (v) => (v >= 6e7 ? short(v / 6e7) + " min" : v >= 1e6 ? short(v / 1e6) + " s" : v >= 1e3 ? short(v / 1e3) + " ms" : short(v) + " µs"),
  };
  const clock = (s) => {
    if (s < 120) return short(s) + " s";
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    return s < 7200 ? Math.floor(s / 60) + ":" + two(s % 60) : Math.floor(s / 3600) + "h" + two((s % 3600) / 60);
  };
  const percent = (x) => {
    const q = 100 * (1 - 1 / x);
    return q === 0 ? "0 %" : q.toFixed(Math.max(0, Math.ceil(Math.log10(x) - 2.0001))).replace(/^100(\.0+)?$/, "99.99…") + " %";
  };
  // powers of ten are all that a log axis marks, and not all of those where there is little room.
  const powers = (min, max) => {
    const out = [];
    for (let n = Math.ceil(Math.log10(min) - 1e-9); n <= Math.log10(max) + 1e-9; n++) out.push(10 ** n);
    return out;
  };
  const sizes2 = Array.from({ length: 45 }, (_, i) => 2 ** i);

  // shade paints every other phase and writes the names of those that have room.
  const shade = (bands) => (u) => {
    const { ctx, bbox } = u;
    const ratio = window.devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = 11 * ratio + "px " + color("--sans");
    ctx.textBaseline = "top";
    bands.forEach((b, i) => {
      const from = u.valToPos(b.from, "x", true);
      const to = u.valToPos(b.to, "x", true);
      ctx.fillStyle = color("--band");
      if (i % 2 === 1) ctx.fillRect(from, bbox.top, to - from, bbox.height);
      ctx.fillStyle = color("--soft");
      const left = Math.max(from, bbox.left) + 4 * ratio;
      if (ctx.measureText(b.name).width + 4 * ratio < Math.min(to, bbox.left + bbox.width) - left) ctx.fillText(b.name, left, bbox.top + 3 * ratio);
    });
    ctx.restore();
  };

  const options = (c, width) => {
    const ink = color("--soft");
    const grid = { stroke: color("--line"), width: 1 };
    const font = "11px " + color("--sans");
    const axis = (unit, more) => ({
      stroke: ink, font, grid, ticks: { show: false }, size: 62, gap: 6, values: (u, list) => list.map((v) => (v == null ? "" : formats[unit](v))), ...more,
    });
    const byPercent = c.x === "percentile";
    const log = { distr: 3, log: 10 };
    const linear = (least) => ({ range: (u, min, max) => [0, Math.max(max == null ? 1 : max * 1.12, least || 1e-9)] });
    const spread = (u, i, min, max) => powers(min, max);
    const below = { stroke: ink, font, grid, ticks: { show: false }, size: 30, gap: 6 };
    const thin = (u, list) => list.map((v, i) => (list.length * 58 > u.width && i % 2 === 1 ? "" : percent(v)));
    const axes = [
      byPercent ? { ...below, splits: spread, filter: (u, list) => list, values: thin } : { ...below, values: (u, list) => list.map(clock) },
      axis(c.unit, c.log ? { splits: spread, filter: (u, list) => list } : {}),
    ];
    if (c.right && c.lines.some((l) => l.right)) {
      axes.push(axis(c.right, { scale: "right", side: 1, grid: { show: false }, ...(c.right === "bytes" ? { incrs: sizes2 } : {}) }));
    }
    const few = c.at.length < 3;
    const value = (format) => (u, v) => (v == null ? "" : format(v));
    return {
      width, height: 240, padding: [8, byPercent ? 26 : 16, 0, 0], axes,
      cursor: { sync: byPercent ? undefined : { key: "time" }, drag: { x: true, y: false }, points: { size: 6 } },
      scales: { x: byPercent ? { time: false, ...log, range: (u, min, max) => [1, Math.max(max, 10)] } : { time: false }, y: c.log ? log : linear(c.top), right: linear() },
      series: [
        { label: byPercent ? "percentile" : "time", value: value(byPercent ? percent : clock) },
        ...c.lines.map((l) => {
          const stroke = color("--c" + l.color);
          return {
            label: l.label, stroke: l.wide ? stroke + "66" : stroke, width: l.wide ? 5 : 1.75, dash: l.dash ? [5, 4] : undefined, scale: l.right ? "right" : "y", spanGaps: false,
            fill: l.fill ? stroke + "2e" : undefined, points: few ? { show: true, size: 6 } : { show: false },
            value: value(formats[l.right ? c.right : c.unit]),
          };
        }),
      ],
      hooks: { drawClear: c.bands ? [shade(c.bands)] : [] },
    };
  };

  const drawn = new Map();
  const draw = (c, at) => {
    const box = at.querySelector(".canvas");
    const old = drawn.get(c.id);
    if (old) old.destroy();
    const width = Math.max(240, Math.floor(box.clientWidth));
    drawn.set(c.id, new uPlot(options(c, width), [c.at, ...c.lines.map((l) => l.values)], box));
    box.dataset.width = width;
  };
  const all = charts.map((c) => [c, document.getElementById("plot-" + c.id)]);
  const redraw = () => all.forEach(([c, at]) => draw(c, at));
  redraw();
  const sizes = new ResizeObserver((list) => {
    for (const { target } of list) {
      const c = charts.find((c) => "plot-" + c.id === target.closest("figure").id);
      const width = Math.max(240, Math.floor(target.clientWidth));
      if (width !== Number(target.dataset.width)) {
        target.dataset.width = width;
        drawn.get(c.id).setSize({ width, height: 240 });
      }
    }
  });
  all.forEach(([, at]) => sizes.observe(at.querySelector(".canvas")));
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  mqlab.ready();
})();
