"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const LABELS = { headline: "Headline", imitation: "Imitation", planning: "Plans", correlation: "Reward: correlation", distance: "Reward: distance", reoptimised: "Re-optimised", cost: "Cost" };
  const T95 = [12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086];
  const FEWEST = 3;
  const DEFAULTS = { suite: data.suite, task: "", budget: "", group: "headline", seeds: "", find: "", controls: "1", sort: "method:1" };
  let state = { ...DEFAULTS };

  // state and address
  const read = () => {
    const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    state = { ...DEFAULTS };
    for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
    return given;
  };
  const address = (more = {}) => {
    const changed = Object.entries({ ...state, ...more }).filter(([key, value]) => value !== DEFAULTS[key]);
    return "#" + new URLSearchParams(changed.length ? changed : [["suite", state.suite]]);
  };
  const write = (more) => history.replaceState(null, "", address(more));

  const seedsOf = (text) => {
    const found = new Set();
    for (const piece of text.split(",").map((x) => x.trim()).filter(Boolean)) {
      const match = /^(\d+)(?:-(\d+))?$/.exec(piece);
      if (!match) return null;
      for (let s = +match[1]; s <= Math.min(+(match[2] ?? match[1]), +match[1] + 10000); s++) found.add(s);
    }
    return found.size ? found : undefined;
  };
  const options = (select, pairs, value) => {
    select.replaceChildren(...pairs.map(([key, text]) => make("option", text, { value: key })));
    select.value = pairs.some(([key]) => key === value) ? value : pairs[0][0];
    return select.value;
  };
  const metricsOf = (runs) => {
    const names = Object.keys(data.metrics);
    const wanted = state.group === "headline" ? data.headline : names.filter((n) => state.group === "all" || data.metrics[n].group === state.group);
    const present = wanted.filter((n) => runs.some((r) => n in r.values));
    return present.length ? present : [...wanted];
  };
  const number = (value, name) => {
    const text = Math.abs(value).toLocaleString("en", { minimumFractionDigits: data.metrics[name].digits, maximumFractionDigits: data.metrics[name].digits });
    return (value < 0 && /[1-9]/.test(text) ? "\u2212" : "") + text;
  };
  const mean = (xs) => xs.reduce((a, b) => a + b, 0) / xs.length;
  const half = (xs) => (T95[xs.length - 2] ?? 1.96) * Math.sqrt(xs.reduce((a, x) => a + (x - mean(xs)) ** 2, 0) / (xs.length - 1) / xs.length);

  // rows of the table: one per task and method
  const summarise = () => {
    const seeds = seedsOf(state.seeds);
    const chosen = data.runs.filter((r) => r.suite === state.suite && (!state.task || r.task === state.task)
      && (!state.budget || r.budget === null || String(r.budget) === state.budget) && (!seeds || seeds.has(r.seed))
      && (state.controls === "1" || !r.control) && data.methods[r.method].title.toLowerCase().includes(state.find.toLowerCase()));
    const metrics = metricsOf(chosen);
    const cells = new Map();
    for (const run of chosen) {
      const key = run.task + "\0" + run.method;
      if (!cells.has(key)) cells.set(key, { task: run.task, method: run.method, control: run.control, runs: [] });
      cells.get(key).runs.push(run);
    }
    const rows = [...cells.values()].map((cell) => {
      const values = {};
      for (const name of metrics) {
        const seeds = new Map(cell.runs.filter((r) => name in r.values).map((r) => [r.seed, r.values[name]]));
        const xs = [...seeds.values()];
        if (!xs.length) continue;
        const m = mean(xs), known = state.suite === data.suite && data.intervals[cell.task]?.[cell.method]?.[name];
        let ends = null;
        if (known && known[2] === xs.length) ends = known;
        else if (xs.length >= FEWEST) ends = [m - half(xs), m + half(xs)];
        values[name] = { mean: m, ends, n: xs.length, seeds };
      }
      return { ...cell, values };
    });
    return { rows, metrics, bad: seeds === null };
  };
  const titleOf = (row) => data.methods[row.method].title + (row.control ? "\u2020" : "");
  const sorted = ({ rows, metrics }) => {
    const [key, way] = state.sort.split(":");
    const value = (row) => (key === "method" ? titleOf(row).toLowerCase() : key === "task" ? data.tasks[row.task] : row.values[key]?.mean);
    const text = key === "method" || key === "task";
    return [...rows].sort((a, b) => {
      if (text && key === "method" && a.control !== b.control) return a.control - b.control;
      const x = value(a), y = value(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return (text ? x.localeCompare(y) : x - y) * (+way || 1);
    });
  };

  let shown = { rows: [], metrics: [] };
  const draw = () => {
    const pick = (name, pairs) => (state[name] = options($(name), pairs, state[name]));
    pick("suite", [...new Set(data.runs.map((r) => r.suite))].map((s) => [s, s]));
    const suite = data.runs.filter((r) => r.suite === state.suite);
    pick("task", [["", "all"], ...[...new Set(suite.map((r) => r.task))].map((t) => [t, data.tasks[t] ?? t])]);
    const budgets = [...new Set(suite.filter((r) => r.budget !== null && (!state.task || r.task === state.task)).map((r) => r.budget))].sort((a, b) => a - b);
    pick("budget", [["", "any"], ...budgets.map((b) => [String(b), b.toLocaleString("en")])]);
    pick("group", [["headline", LABELS.headline], ...[...new Set(Object.values(data.metrics).map((m) => m.group))].map((g) => [g, LABELS[g] ?? g]), ["all", "All"]]);
    for (const name of ["seeds", "find"]) if ($(name).value !== state[name]) $(name).value = state[name];
    $("controls").checked = state.controls === "1";
    const found = summarise();
    shown = { rows: sorted(found), metrics: found.metrics };
    $("seeds").setAttribute("aria-invalid", found.bad);
    $("said").textContent = found.bad ? "Seeds must be numbers, as in 0-2 or 0,3: all are shown." : `${shown.rows.length} rows, ${shown.metrics.length} metrics.`;

    const heads = [["method", "Method"], ...(state.task ? [] : [["task", "Task"]]), ...shown.metrics.map((n) => [n, data.metrics[n].label + ({ 1: " \u2191", "-1": " \u2193" }[data.metrics[n].better] ?? "")]), ["", "Runs"]];
    const [sortKey, way] = state.sort.split(":");
    const line = make("tr");
    for (const [key, label] of heads) {
      const head = make("th", key ? undefined : label, { scope: "col", class: key === "method" || key === "task" ? "text" : "" });
      if (key) {
        const on = key === sortKey;
        head.setAttribute("aria-sort", on ? (+way > 0 ? "ascending" : "descending") : "none");
        const button = make("button", label + (on ? (+way > 0 ? " \u25b4" : " \u25be") : ""), { type: "button", "data-sort": key });
        if (data.metrics[key]) button.title = data.metrics[key].unit;
        head.append(button);
      }
      line.append(head);
    }
    $("leaderboard").tHead.replaceChildren(line);
    const best = {};
    const competes = (row, value) => value && !row.control && value.n === row.runs.length && value.n >= FEWEST;
    for (const name of shown.metrics) for (const row of shown.rows) {
      const way = data.metrics[name].better, value = row.values[name], top = best[row.task + name];
      if (way && competes(row, value) && (!top || way * value.mean > way * top.mean)) best[row.task + name] = value;
    }
    const tied = (row, value, top) => {
      if (!top || !competes(row, value)) return false;
      const gaps = [...value.seeds].filter(([seed]) => top.seeds.has(seed)).map(([seed, x]) => x - top.seeds.get(seed));
      return value === top || (gaps.length >= FEWEST && Math.abs(mean(gaps)) <= half(gaps));
    };
    $("leaderboard").tBodies[0].replaceChildren(...shown.rows.map((row) => {
      const tr = make("tr", null, row.control ? { class: "control" } : {});
      const name = make("th", null, { scope: "row" });
      const dot = make("span", null, { class: "dot", "aria-hidden": "true" });
      dot.style.background = data.methods[row.method].colour;
      name.append(dot, titleOf(row));
      tr.append(name);
      if (!state.task) tr.append(make("td", data.tasks[row.task] ?? row.task, { class: "text" }));
      for (const metric of shown.metrics) {
        const value = row.values[metric];
        const td = make("td", value ? undefined : row.runs.some((r) => r.status === "ok") ? "\u2013" : [...new Set(row.runs.map((r) => r.status))].join("/"));
        if (value) {
          if (tied(row, value, best[row.task + metric])) td.className = "best";
          const button = make("button", number(value.mean, metric), { type: "button", "data-cell": row.task + "\0" + row.method, "aria-label": `${number(value.mean, metric)}: runs of ${titleOf(row)} on ${data.tasks[row.task]}` });
          td.append(button);
          const more = [value.ends ? `[${number(value.ends[0], metric)}, ${number(value.ends[1], metric)}]` : `n=${value.n}`];
          if (value.n < row.runs.length) more.push(`${value.n}/${row.runs.length}`);
          td.append(make("small", more.join(" ")));
        }
        tr.append(td);
      }
      const ok = row.runs.filter((r) => r.status === "ok").length;
      const runs = make("td");
      runs.append(make("button", ok === row.runs.length ? `${ok} ok` : `${ok}/${row.runs.length} ok`, { type: "button", class: "runs", "data-cell": row.task + "\0" + row.method, "aria-label": `${ok} of ${row.runs.length} runs ended well: open the runs of ${titleOf(row)} on ${data.tasks[row.task]}` }));
      tr.append(runs);
      return tr;
    }));
  };

  // export of what is shown
  const csvField = (text) => (/[",\n]/.test(text) || /^[=+@]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = () => {
    const head = ["method", "title", "task", "control", "runs", "ok", ...shown.metrics.flatMap((n) => [n, n + "_low", n + "_high", n + "_n"])];
    const body = shown.rows.map((row) => [row.method, data.methods[row.method].title, row.task, row.control, row.runs.length, row.runs.filter((r) => r.status === "ok").length,
      ...shown.metrics.flatMap((n) => { const v = row.values[n]; return v ? [v.mean, v.ends?.[0] ?? "", v.ends?.[1] ?? "", v.n] : ["", "", "", 0]; })]);
    return [head, ...body].map((line) => line.map((x) => csvField(typeof x === "number" ? String(+x.toPrecision(6)) : String(x))).join(",")).join("\n") + "\n";
  };
  const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "\u2020": "$^\\dagger$", "\u2212": "$-$", "\u2013": "--", "\u2191": "$\\uparrow$", "\u2193": "$\\downarrow$", "[": "{[}", "]": "{]}", "*": "{*}" };
  const tex = (text) => [...String(text)].map((c) => TEX[c] ?? ("&%$#_{}".includes(c) ? "\\" + c : /[\x20-\x7e\u00a1-\u017f]/.test(c) ? c : "?")).join("");
  const latex = () => {
    const heads = ["Method", ...(state.task ? [] : ["Task"]), ...shown.metrics.map((n) => data.metrics[n].label)];
    const body = shown.rows.map((row) => [titleOf(row), ...(state.task ? [] : [data.tasks[row.task]]), ...shown.metrics.map((n) => {
      const v = row.values[n];
      return v ? number(v.mean, n) + (v.ends ? ` [${number(v.ends[0], n)}, ${number(v.ends[1], n)}]` : "") : "\u2013";
    })].map(tex).join(" & ") + " \\\\");
    return ["% needs \\usepackage{booktabs}", `\\begin{tabular}{${"l".repeat(state.task ? 1 : 2)}${"r".repeat(shown.metrics.length)}}`, "\\toprule", heads.map(tex).join(" & ") + " \\\\", "\\midrule", ...body, "\\bottomrule", "\\end{tabular}", ""].join("\n");
  };
  const save = (name, text) => {
    const link = make("a", null, { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // details
  const open = (dialog) => { if (!dialog.open) dialog.showModal(); dialog.scrollTop = 0; };
  const definition = (pairs) => {
    const list = make("dl");
    for (const [key, value] of pairs) list.append(make("dt", key), make("dd", value));
    return list;
  };
  const SVG = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const brief = (x) => (Math.abs(x) >= 1e4 || (x && Math.abs(x) < 1e-2) ? x.toExponential(1) : +x.toPrecision(3)).toString();
  const chart = (clock, xs, name, ys, colour) => {
    const points = xs.map((x, i) => [x, ys[i]]).filter(([x, y]) => x !== null && y !== null);
    if (points.length < 2) return null;
    const [w, h, left, low] = [270, 130, 46, 22], px = points.map((p) => p[0]), py = points.map((p) => p[1]);
    const [x0, x1, y0, y1] = [Math.min(...px), Math.max(...px), Math.min(...py), Math.max(...py)];
    const X = (x) => left + ((w - left - 6) * (x - x0)) / (x1 - x0 || 1), Y = (y) => 6 + (h - low - 6) * (1 - (y - y0) / (y1 - y0 || 1));
    const figure = make("figure"), svg = SVG("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${name} over ${clock}: from ${brief(py[0])} to ${brief(py.at(-1))}` });
    svg.append(SVG("path", { d: `M${left} 6V${h - low}H${w - 4}`, fill: "none", class: "axis" }),
      SVG("polyline", { points: points.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 2 }),
      SVG("text", { x: left - 4, y: 14, "text-anchor": "end" }, brief(y1)), SVG("text", { x: left - 4, y: h - low, "text-anchor": "end" }, brief(y0)),
      SVG("text", { x: left, y: h - 6 }, brief(x0)), SVG("text", { x: w - 4, y: h - 6, "text-anchor": "end" }, `${brief(x1)} ${clock.replaceAll("_", " ")}`));
    figure.append(make("figcaption", name.replaceAll("_", " ")), svg);
    return figure;
  };
  const CLOCKS = ["env_steps", "gradient_steps", "cpu_seconds"];
  const showRun = (id) => {
    const run = data.runs.find((r) => r.id === id);
    if (!run) return;
    const body = $("detail-body"), colour = data.methods[run.method].colour;
    body.replaceChildren(make("h2", `${data.methods[run.method].title} on ${data.tasks[run.task]}, seed ${run.seed}`, { id: "detail-title" }));
    body.append(definition([["Run", run.id], ["Ended", run.status + (run.reason ? `: ${run.reason}` : "")], ["Suite", run.suite], ["Demonstrations", run.demos], ["Steps allowed", run.budget.toLocaleString("en")], ["Kind of reward", run.kind], ["Base data", `seed ${run.base_seed}`], ["Finished", run.finished]]));
    if (Object.keys(run.values).length) body.append(make("h3", "Metrics"), definition(Object.entries(run.values).map(([n, v]) => [data.metrics[n]?.label ?? n, data.metrics[n] ? number(v, n) : v])));
    const charts = make("div", null, { class: "curves" });
    for (const columns of Object.values(run.curve ?? {})) {
      const clock = CLOCKS.find((c) => columns[c]?.some((x) => x));
      if (clock) for (const [name, ys] of Object.entries(columns)) if (!CLOCKS.includes(name)) charts.append(chart(clock, columns[clock], name === "score" ? "true score (few starts)" : name, ys, colour) ?? "");
    }
    if (charts.childNodes.length) body.append(make("h3", "Curves"), charts);
    if (run.notes?.length) { const list = make("ul"); list.append(...run.notes.map((n) => make("li", n))); body.append(make("h3", "Notes"), list); }
    body.append(make("h3", "Configuration"), make("pre", JSON.stringify(data.shared[run.config], null, 1), { tabindex: "0" }));
    body.append(make("h3", "Provenance"), make("pre", JSON.stringify({ code: run.code, ...data.shared[run.origin] }, null, 1), { tabindex: "0" }));
    body.append(make("h3", "Artefacts"), make("p", run.files.length ? `${run.files.join(", ")} in folder ${run.id}/ beside the record` : "none beside this record"));
    body.append(make("p", "The same method and settings: "));
    body.lastChild.append(...data.runs.filter((r) => r.id && r.suite === run.suite && r.task === run.task && r.method === run.method).map((r) => make("button", `seed ${r.seed}`, { type: "button", class: "run", "data-run": r.id })));
    write({ run: id });
    open($("detail"));
  };
  const showCell = (key) => {
    const row = shown.rows.find((r) => r.task + "\0" + r.method === key);
    const body = $("detail-body");
    body.replaceChildren(make("h2", `${titleOf(row)} on ${data.tasks[row.task]}`, { id: "detail-title" }));
    const table = make("table"), head = make("tr");
    head.append(...["Run", "Ended", ...shown.metrics.map((n) => data.metrics[n].label)].map((text) => make("th", text, { scope: "col" })));
    table.append(make("thead")); table.tHead.append(head); table.append(make("tbody"));
    for (const run of row.runs) {
      const tr = make("tr"), first = make("th", run.id ? undefined : `seed ${run.seed}`, { scope: "row" });
      if (run.id) first.append(make("button", `seed ${run.seed}`, { type: "button", class: "run", "data-run": run.id }));
      tr.append(first, make("td", run.status, { class: "text" }), ...shown.metrics.map((n) => make("td", n in run.values ? number(run.values[n], n) : "\u2013")));
      table.tBodies[0].append(tr);
    }
    const wide = make("div", null, { class: "wide" });
    wide.append(table);
    body.append(wide);
    open($("detail"));
  };
  const showFigure = (name) => {
    const image = document.querySelector(`#figure-${CSS.escape(name)} img`);
    if (!image) return;
    $("large").src = image.src; $("large").alt = image.alt;
    write({ figure: name });
    open($("enlarged"));
  };

  // events
  for (const name of ["suite", "task", "budget", "group"]) $(name).addEventListener("change", (event) => { state[name] = event.target.value; draw(); write(); });
  for (const name of ["seeds", "find"]) $(name).addEventListener("input", (event) => { state[name] = event.target.value; draw(); write(); });
  $("controls").addEventListener("change", (event) => { state.controls = event.target.checked ? "1" : "0"; draw(); write(); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { sort, cell, run, name } = button.dataset;
    if (sort) {
      const [key, way] = state.sort.split(":"), first = data.metrics[sort] ? -1 : 1;
      state.sort = `${sort}:${key === sort ? -way : data.metrics[sort]?.better === -1 ? 1 : first}`;
      draw(); write();
      document.querySelector(`[data-sort="${sort}"]`).focus();
    } else if (cell) showCell(cell);
    else if (run) showRun(run);
    else if (name) showFigure(name);
    else if (button.classList.contains("close")) button.closest("dialog").close();
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("close", () => write());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  $("csv").addEventListener("click", () => save("leaderboard.csv", csv()));
  $("latex").addEventListener("click", () => save("leaderboard.tex", latex()));
  $("link").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); $("said").textContent = "Link copied."; } catch { $("said").textContent = location.href; }
  });
  const start = () => {
    const given = read();
    draw();
    if (given.has("run")) showRun(given.get("run"));
    if (given.has("figure")) showFigure(given.get("figure"));
  };
  window.addEventListener("hashchange", () => { if (location.hash.includes("=")) start(); });
  start();
})();
