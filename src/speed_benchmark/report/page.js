"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { words, specs, sections, columns, limit } = read("setup");
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
  const shortId = (id) => id.replace("sha256:", "").slice(0, 12);

  // What a record shows in a column, as columns.py has it.
  const written = (column, value) => {
    if (value === undefined) return "";
    if (Array.isArray(value)) return value.map((item) => written(column, item)).join(column.digits === null ? " · " : words.comma);
    if (value === true) return words.yes;
    if (value === 0 && column.zero) return words[column.zero];
    if (column.digits !== null) return (value * column.scale).toFixed(column.digits);
    return String((column.worded ? words[`${column.name}.${value}`] : undefined) ?? value);
  };
  const shown = (column, record) => {
    const low = written(column, record[column.name]);
    if (!column.to || !low) return low;
    return words.range.replace("{low}", () => low).replace("{high}", () => written(column, record[column.to]));
  };
  const named = new Map(columns.map((column) => [column.name, column]));
  const at = (place) => columns.filter((column) => column.places.includes(place));
  const raw = at("page"), details = at("details");
  const labelled = (name, record) => {
    const text = shown(named.get(name), record);
    return text && words.label.replace("{label}", () => named.get(name).label).replace("{value}", () => text);
  };

  // A bar of the parts of a decoding step, and below it what each is, so that it is read without its colours too.
  const stacked = (shares) => {
    const value = make("dd"), bar = make("div", undefined, "stack"), legend = make("ul", undefined, "legend");
    for (const [part, share] of shares.filter(([, share]) => share >= 0.0005)) {
      const slice = make("span"), swatch = make("span", undefined, "swatch"), item = make("li");
      slice.style.flexGrow = share;
      slice.style.background = swatch.style.background = `var(--step-${part})`;
      item.append(swatch, `${words[`step.${part}`]} ${(100 * share).toFixed(1)} %`);
      bar.append(slice);
      legend.append(item);
    }
    value.append(bar, legend);
    return value;
  };

  // A record, whole.
  const dialog = $("#record");
  const show = (id) => {
    const record = byId.get(id);
    if (!record) return;
    const list = make("dl");
    for (const column of details) {
      const value = shown(column, record);
      if (value) list.append(make("dt", column.label), make("dd", value));
    }
    if (record.step_shares) list.append(make("dt", words.step), stacked(record.step_shares));
    dialog.querySelector("h2").textContent = `${record.model} · ${record.quantization ?? ""} · ${record.context_length}`;
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
    const lines = [labelled("context_length", value)];
    if (record) {
      for (const name of ["generation_tokens_per_s", "generation_tokens_per_s_low", "time_to_first_token_s", "memory_bytes", "note"]) lines.push(labelled(name, record));
      if (value.deviations !== undefined) lines.push(`${Number(value.deviations).toFixed(2)} ${words.axis_deviation}`);
      lines.push(`${shown(named.get("verdict"), record)} · ${shortId(record.record_id)}`);
    } else {
      lines.push(words.label.replace("{label}", () => words.published).replace("{value}", Number(value.speed).toFixed(2)));
    }
    for (const line of lines.filter(Boolean)) tip.append(make("div", line));
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
    const drawn = points.filter((point) => matches(point, wanted));
    const models = [...new Set(drawn.map((point) => point.model))];
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
      const having = models.filter((model) => drawn.some((point) => point.model === model && point[field] !== undefined));
      grid.closest("section").hidden = having.length === 0;
      for (const model of having.slice(0, limit)) {
        const figure = make("figure", undefined, "chart");
        figure.style.margin = 0;
        const view = make("div", undefined, "view");
        figure.append(make("h4", model), view);
        grid.append(figure);
        const rows = drawn.filter((point) => point.model === model && point[field] !== undefined);
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
  let order = { column: null, down: false }, room = 100;
  const compare = (a, b) => {
    const left = a[order.column.name], right = b[order.column.name];
    if (left === undefined) return right === undefined ? 0 : 1;
    if (right === undefined) return -1;
    const sign = order.down ? -1 : 1;
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right), undefined, { numeric: true }));
  };
  const cellOf = (column, record) => {
    const cell = make("td", shown(column, record), column.numeric ? "number" : "");
    if (column.name === "outcome" && record.outcome !== "ok") cell.className = "failed";
    if (column.name === "verdict") cell.className = record.verdict;
    if (column.name === "record_id") {
      const link = make("a", shortId(record.record_id), "id");
      link.href = "#raw";
      cell.replaceChildren(link);
    }
    return cell;
  };
  const fill = (wanted) => {
    const kept = records.filter((record) => matches(record, wanted));
    if (order.column) kept.sort(compare);
    body.replaceChildren(...kept.slice(0, room).map((record) => {
      const row = make("tr");
      row.dataset.record = record.record_id;
      row.append(...raw.map((column) => cellOf(column, record)));
      return row;
    }));
    if (!kept.length) {
      const row = make("tr");
      row.append(make("td", words.no_rows));
      body.append(row);
    }
    more.hidden = kept.length <= room;
    $(".count").textContent = `${kept.length} ${words.shown}`;
  };
  raw.forEach((column) => {
    const cell = make("th", undefined, column.numeric ? "number" : ""), button = make("button", column.label);
    cell.scope = "col";
    cell.append(button);
    head.append(cell);
    button.addEventListener("click", () => {
      order = { column, down: order.column === column && !order.down };
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
