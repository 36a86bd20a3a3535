"use strict";
// Keys for people who label all day: g and c press the two buttons, the arrows walk through the photos.
(() => {
  const figures = [...document.querySelectorAll("figure.photo")];
  let shown = 0;

  const walk = (step) => {
    if (figures.length === 0) return;
    shown = (shown + step + figures.length) % figures.length;
    figures[shown].scrollIntoView({ block: "center", behavior: "smooth" });
    figures.forEach((figure, index) => figure.classList.toggle("current", index === shown));
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, textarea, select")) return;
    const key = event.key.toLowerCase();
    const button = document.querySelector(`button[data-key="${CSS.escape(key)}"]`);
    if (button) button.click();
    else if (key === "arrowright") walk(1);
    else if (key === "arrowleft") walk(-1);
  });

  // A second click on the way to the next case must not label that one too.
  document.querySelectorAll("form.labels").forEach((form) =>
    form.addEventListener("submit", () =>
      setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true)), 0),
    ),
  );
})();
