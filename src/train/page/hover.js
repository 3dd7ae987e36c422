// The values under the pointer, below each chart.
for (const figure of document.querySelectorAll("figure[data-lines]")) {
  const lines = JSON.parse(figure.dataset.lines);
  const right = Number(figure.dataset.right);
  const plot = figure.querySelector(".plot");
  const cursor = figure.querySelector(".cursor");
  const output = figure.querySelector("output");
  const idle = lines.map((line) => [line, line.points.at(-1)]);
  const nearest = (points, step) =>
    points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
  const show = (found) => {
    output.replaceChildren();
    for (const [line, point] of found) {
      const item = document.createElement("span");
      item.style.setProperty("--c", `var(--c${line.colour})`);
      item.textContent = `${line.name} ${Number(point[1].toPrecision(4))} at ${Math.round(point[0])}`;
      output.append(item);
    }
  };
  const drawn = idle.filter(([, point]) => point);
  show(drawn);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    cursor.style.left = `${100 * share}%`;
    cursor.style.opacity = 1;
    show(drawn.map(([line]) => [line, nearest(line.points, share * right)]));
  });
  plot.addEventListener("pointerleave", () => {
    cursor.style.opacity = 0;
    show(drawn);
  });
}
