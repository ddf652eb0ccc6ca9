"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { words, specs, sections, formats, limit, gib } = read("setup");
  const records = read("records");
  const points = read("points");
  const byId = new Map(records.map((record) => [record.record_id, record]));
  const $ = (selector) => document.querySelector(selector);
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const fixed = (digits, scale = 1) => (value) => (value === undefined ? "" : (value * scale).toFixed(digits));
  const speed = fixed(2), milliseconds = fixed(2, 1000), memory = fixed(2, 1 / gib), percent = fixed(1, 100);
  const shortId = (id) => id.replace("sha256:", "").slice(0, 12);
  const interval = (record) => record.generation_tokens_per_s_low === undefined ? ""
    : `${speed(record.generation_tokens_per_s_low)} – ${speed(record.generation_tokens_per_s_high)}`;
  const gpus = (record) => record.gpu_count ? String(record.gpu_count) : words.cpu;

  // What the raw table and the record show: label, text, the value to sort by.
  const columns = [
    [words.model, (r) => r.model], [words.engine, (r) => r.engine], [words.quantization, (r) => r.quantization],
    [words.input, (r) => r.input_tokens], [words.output, (r) => r.output_tokens], [words.gpus, gpus, (r) => r.gpu_count],
    [words.speed, (r) => speed(r.generation_tokens_per_s), (r) => r.generation_tokens_per_s],
    [words.interval_95, interval, (r) => r.generation_tokens_per_s_low],
    [words.total_speed, (r) => speed(r.total_tokens_per_s), (r) => r.total_tokens_per_s],
    [words.decode_speed, (r) => speed(r.decode_tokens_per_s), (r) => r.decode_tokens_per_s],
    [words.first_token, (r) => milliseconds(r.time_to_first_token_s), (r) => r.time_to_first_token_s],
    [words.gap_median, (r) => milliseconds(r.inter_token_latency_p50_s), (r) => r.inter_token_latency_p50_s],
    [words.memory_gib, (r) => memory(r.memory_bytes), (r) => r.memory_bytes],
    [words.bandwidth_share, (r) => percent(r.decode_bandwidth_share), (r) => r.decode_bandwidth_share],
    [words.joules, (r) => speed(r.joules_per_token), (r) => r.joules_per_token],
    [words.outcome, (r) => words[r.outcome] ?? r.outcome], [words.verdict, (r) => words[r.verdict] ?? r.verdict],
    [words.id, (r) => shortId(r.record_id), (r) => r.record_id],
  ].filter(([, text]) => records.some((record) => text(record) !== ""));
  const details = [
    ...columns.slice(0, -1),
    [words.stdev, (r) => speed(r.generation_tokens_per_s_stdev)],
    [words.each_repeat, (r) => (r.repeat_tokens_per_s ?? []).map(speed).join(", ")],
    [words.prefill_speed, (r) => speed(r.prefill_tokens_per_s)],
    [words.gap_p90, (r) => milliseconds(r.inter_token_latency_p90_s)],
    [words.gap_p99, (r) => milliseconds(r.inter_token_latency_p99_s)],
    [words.decode_limit, (r) => speed(r.decode_limit_tokens_per_s)], [words.matrix_share, (r) => percent(r.prefill_matrix_share)],
    [words.busy_share, (r) => percent(r.device_busy_share)], [words.binds, (r) => r.binds],
    [words.minimum, (r) => memory(r.minimum_to_run_bytes)],
    [words.allocated, (r) => memory(r.allocator_peak_allocated_bytes)],
    [words.reserved, (r) => memory(r.allocator_peak_reserved_bytes)],
    [words.process, (r) => memory(r.process_device_bytes)], [words.device, (r) => memory(r.device_used_bytes)],
    [words.resident, (r) => memory(r.host_peak_rss_bytes)], [words.load, (r) => fixed(1)(r.load_s)],
    [words.first_request, (r) => fixed(1)(r.first_request_s)],
    [words.machine, (r) => r.machine], [words.driver, (r) => r.driver], [words.software, (r) => r.software],
    [words.weights, (r) => r.weights], [words.kernel, (r) => r.kernel], [words.attention, (r) => r.attention],
    [words.execution, (r) => r.execution], [words.dtype, (r) => r.dtype], [words.sampling, (r) => r.sampling],
    [words.prompt, (r) => r.prompt], [words.repeats, (r) => r.repeats], [words.warmups, (r) => r.warmups],
    [words.max_model_len, (r) => r.max_model_len ?? ""], [words.gpu_memory_utilization, (r) => r.gpu_memory_utilization ?? ""],
    [words.created, (r) => r.created_at], [words.reasons, (r) => (r.reasons ?? []).join(" · ")],
    [words.notes, (r) => (r.notes ?? []).join(" · ")], [words.file, (r) => r.file],
    [words.id, (r) => r.record_id], [words.cell, (r) => r.cell_id],
  ];

  // A record, whole.
  const dialog = $("#record");
  const show = (id) => {
    const record = byId.get(id);
    if (!record) return;
    const list = make("dl");
    for (const [name, text] of details) {
      const value = String(text(record) ?? "");
      if (value) list.append(make("dt", name), make("dd", value));
    }
    dialog.querySelector("h2").textContent = `${record.model} · ${record.quantization} · ${record.input_tokens}`;
    dialog.querySelector("dl").replaceWith(list);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0; // its button, which gets the focus, is at the end
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-record]");
    if (link) { event.preventDefault(); show(link.dataset.record); }
  });

  // What a pointer over a mark says.
  const tip = $("#tip");
  const place = (event) => {
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  const hover = (_handler, event, _item, value) => {
    if (!value || typeof value !== "object") { tip.hidden = true; return; }
    const record = byId.get(value.record_id);
    tip.replaceChildren(make("b", `${value.model} · ${value.engine} · ${value.quantization}`));
    const lines = [`${words.input}: ${value.input_tokens}`];
    if (record) {
      lines.push(`${words.speed}: ${speed(record.generation_tokens_per_s)}${interval(record) && ` (${interval(record)})`}`);
      lines.push(`${words.first_token}: ${milliseconds(record.time_to_first_token_s)}`);
      if (record.memory_bytes !== undefined) lines.push(`${words.memory_gib}: ${memory(record.memory_bytes)}`);
      if (value.deviations !== undefined) lines.push(`${Number(value.deviations).toFixed(2)} ${words.axis_percent}`);
      lines.push(`${words[record.verdict] ?? record.verdict} · ${shortId(record.record_id)}`);
    } else {
      lines.push(`${words.published}: ${speed(value.speed)}`);
    }
    for (const line of lines) tip.append(make("div", line));
    tip.hidden = false;
    place(event);
  };

  // Filters.
  const filters = [...document.querySelectorAll(".filters select")];
  const chosen = () => Object.fromEntries(filters.map((filter) => [filter.name, filter.value]));
  const matches = (item, wanted) => Object.entries(wanted).every(([name, value]) => !value || item[name] === value);

  // Charts: one small view a model, drawn when it comes near the window, the rest when there is time.
  const config = {
    background: null, font: "system-ui", view: { stroke: null }, legend: { disable: true },
    axis: { labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", tickSize: 4, labelPadding: 4, titlePadding: 8 },
  };
  let drawing = new IntersectionObserver(() => {});
  let generation = 0;
  const drawAll = (wanted) => {
    drawing.disconnect();
    const mine = ++generation;
    delete document.documentElement.dataset.drawn;
    const shown = points.filter((point) => matches(point, wanted));
    const models = [...new Set(shown.map((point) => point.model))];
    const waiting = new Map();
    const draw = async (element) => {
      const job = waiting.get(element);
      if (!job || mine !== generation) return;
      waiting.delete(element);
      drawing.unobserve(element);
      const spec = { ...specs[job.name], datasets: { rows: job.rows }, width: "container", height: job.height, autosize: { type: "fit", contains: "padding" } };
      const { view } = await vegaEmbed(element, spec, { actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: hover, config });
      view.addEventListener("click", (_event, item) => show(item?.datum?.record_id));
      element.dataset.drawn = "";
    };
    drawing = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) draw(entry.target); }), { rootMargin: "300px" });
    for (const name of sections) {
      const grid = document.getElementById(`charts-${name}`);
      grid.replaceChildren();
      const field = specs[name].usermeta.field;
      const having = models.filter((model) => shown.some((point) => point.model === model && point[field] !== undefined));
      grid.closest("section").hidden = having.length === 0;
      for (const model of having.slice(0, limit)) {
        const figure = make("figure", undefined, "chart");
        figure.style.margin = 0;
        const view = make("div", undefined, "view");
        figure.append(make("h4", model), view);
        grid.append(figure);
        const rows = shown.filter((point) => point.model === model && point[field] !== undefined);
        const strips = new Set(rows.map((point) => point.row)).size;
        waiting.set(view, { name, rows, height: name === "repeats" ? 60 + 22 * strips : 240 });
        drawing.observe(view);
      }
      if (having.length > limit) grid.append(make("p", `${having.length - limit} ${words.more_models}`, "soft"));
    }
    const later = () => {
      const [element] = waiting.keys();
      if (mine !== generation) return;
      if (!element) { document.documentElement.dataset.drawn = ""; return; }
      draw(element).then(() => setTimeout(later, 30));
    };
    setTimeout(later, 1500);
  };

  // The raw table: sorted, some rows at a time.
  const body = $("#raw tbody"), head = $("#raw thead tr"), more = $("#more");
  let order = { column: -1, down: false }, room = 100;
  const numeric = columns.map(([, text, key = text]) => records.some((record) => typeof key(record) === "number"));
  const key = (record, column) => (columns[column][2] ?? columns[column][1])(record);
  const compare = (a, b) => {
    const left = key(a, order.column), right = key(b, order.column);
    if (left === undefined || left === "") return right === undefined || right === "" ? 0 : 1;
    if (right === undefined || right === "") return -1;
    const sign = order.down ? -1 : 1;
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right), undefined, { numeric: true }));
  };
  const fill = (wanted) => {
    const shown = records.filter((record) => matches(record, wanted));
    if (order.column >= 0) shown.sort(compare);
    body.replaceChildren(...shown.slice(0, room).map((record) => {
      const row = make("tr");
      row.dataset.record = record.record_id;
      columns.forEach(([, text], index) => {
        const cell = make("td", text(record), numeric[index] ? "number" : "");
        if (index === columns.length - 3) cell.className = record.outcome === "ok" ? "" : "failed"; // outcome, verdict, id are last
        if (index === columns.length - 2) cell.className = record.verdict;
        if (index === columns.length - 1) {
          const link = make("a", text(record), "id");
          link.href = "#raw";
          cell.replaceChildren(link);
        }
        row.append(cell);
      });
      return row;
    }));
    if (!shown.length) {
      const row = make("tr");
      row.append(make("td", words.no_rows));
      body.append(row);
    }
    more.hidden = shown.length <= room;
    $(".count").textContent = `${shown.length} ${words.shown}`;
  };
  columns.forEach(([name], index) => {
    const cell = make("th", undefined, numeric[index] ? "number" : ""), button = make("button", name);
    cell.scope = "col";
    cell.append(button);
    head.append(cell);
    button.addEventListener("click", () => {
      order = { column: index, down: order.column === index && !order.down };
      [...head.children].forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      fill(chosen());
    });
  });
  more.addEventListener("click", () => { room += 500; fill(chosen()); });

  const layouts = [...document.querySelectorAll(".layout")];
  let narrowed = false;
  const update = () => {
    const wanted = chosen(), narrows = Object.values(wanted).some(Boolean);
    fill(wanted);
    for (const layout of narrows || narrowed ? layouts : []) {
      const rows = [...layout.querySelectorAll("tbody tr")];
      let any = false;
      for (const row of rows) {
        const record = byId.get(row.dataset.id);
        row.hidden = record !== undefined && !matches(record, wanted);
        any ||= !row.hidden;
      }
      layout.hidden = !any;
    }
    narrowed = narrows;
    drawAll(wanted);
  };
  filters.forEach((filter) => filter.addEventListener("change", update));
  update();
  document.documentElement.dataset.ready = "";
})();
