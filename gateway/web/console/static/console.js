// What pages do beside htmx: times in the reader's zone, charts, questions before a change.
"use strict";

(() => {
  const two = (n) => String(n).padStart(2, "0");

  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      time.title = time.dateTime;
      time.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
    }
  }

  // A chart is a <div class="chart" data-chart="ID"> whose data are the JSON in <template id="ID">.
  // The table beside it says the same to whoever does not see it.
  const charts = new Map();

  // Sizes of a chart are in pixels, and grow with the text of the page.
  const scale = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const size = (box) => ({ width: Math.max(box.clientWidth, 200), height: Math.round(190 * scale()) });

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  const units = {
    count: (v) => v.toLocaleString("en", { maximumFractionDigits: 1 }),
    ms: (v) => (v >= 1000 ? `${(v / 1000).toFixed(1)} s` : `${v.toFixed(v < 10 ? 1 : 0)} ms`),
    money: (v) => v.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 }),
  };

  // Of a few values alone no line would be seen.
  const isSparse = (chart, index) => chart.data[index].filter((v) => v != null).length < 3;

  // The time of day, with the day where that changes.
  function clock(at, before) {
    const date = new Date(at * 1000), time = `${two(date.getHours())}:${two(date.getMinutes())}`;
    const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    if (before === undefined) return `${day}\n${time}`;
    return new Date(before * 1000).getDate() === date.getDate() ? time : `${day}\n${time}`;
  }

  function options(box, about) {
    const text = colour("--muted"), line = colour("--line");
    const write = units[about.unit] || units.count;
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false },
                   font: `${Math.round(12 * scale())}px system-ui, sans-serif` };
    return {
      ...size(box),
      cursor: { y: false, points: { size: 7 } },
      legend: { live: true },
      scales: { x: { time: true }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 70 * scale(), size: 50 * scale(), values: (u, ticks) => ticks.map((at, i) => clock(at, ticks[i - 1])) },
        { ...axis, size: 58 * scale(), values: (u, ticks) => ticks.map(write) },
      ],
      series: [
        { label: "Time", value: (u, at) => (at == null ? "–" : clock(at).replace("\n", " ")) },
        ...about.series.map((each, index) => {
          const stroke = colour(`--${each.colour || `series-${(index % 8) + 1}`}`);
          return { label: each.label, stroke, width: 2, points: { show: isSparse, size: 5 },
                   fill: about.series.length === 1 ? `${stroke}22` : undefined,
                   value: (u, v) => (v == null ? "–" : write(v)) };
        }),
      ],
    };
  }

  function draw(box) {
    const source = document.getElementById(box.dataset.chart);
    if (!source || !window.uPlot) return;
    const about = JSON.parse(source.content.textContent);
    charts.get(box)?.destroy();
    charts.set(box, new uPlot(options(box, about), about.data, box));
  }

  function drawCharts(root) {
    for (const box of charts.keys()) if (!box.isConnected) { charts.get(box).destroy(); charts.delete(box); }
    root.querySelectorAll(".chart[data-chart]").forEach(draw);
  }

  // What scrolls can be reached by the keyboard, and nothing else takes a step of it.
  function scrollers(root) {
    for (const box of root.querySelectorAll(".scroll:not([role])")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  function ready(root) {
    localTimes(root);
    scrollers(root);
    drawCharts(root);
  }

  document.addEventListener("DOMContentLoaded", () => {
    ready(document);
    // to load this page again must not repeat the change that it shows
    const changed = document.querySelector("[data-address]");
    if (changed) history.replaceState(null, "", changed.dataset.address);
    new ResizeObserver(() => {
      for (const [box, chart] of charts) chart.setSize(size(box));
      scrollers(document);
    }).observe(document.querySelector("main"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(document));
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard?.writeText(button.dataset.copy).then(() => {
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = before; }, 1500);
    });
  });

  // A part that is loaded again must not take the reader's place or choice away.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.target;
    const isPolling = event.detail.requestConfig?.triggeringEvent == null
      || event.detail.requestConfig.triggeringEvent.type === "htmx:trigger";
    const isBusy = part && (part.contains(document.activeElement) && document.activeElement !== document.body
      || String(getSelection()).length > 0);
    if (document.hidden || (isPolling && isBusy)) event.preventDefault();
  });
  // What the reader has opened stays open.
  const opened = () => [...document.querySelectorAll("details[id][open]")].map((each) => each.id);
  let open = [];
  document.addEventListener("htmx:beforeSwap", () => { open = opened(); });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  });
  document.addEventListener("htmx:afterSettle", (event) => ready(event.detail.elt));
  document.addEventListener("htmx:afterRequest", (event) => {
    const lost = document.getElementById("lost");
    if (lost) lost.hidden = event.detail.xhr.status > 0 && event.detail.xhr.status < 500;
  });
})();
