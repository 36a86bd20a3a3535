// "I disagree": what the operator sees that the model does not. What was typed stays until the station has it.
import * as api from "./api.js";
import { open } from "./dialogs.js";
import { button, el } from "./dom.js";
import { errorText, looks } from "./wording.js";

const MOST_LETTERS = 2000;

export function disagree(app, verdict, done) {
  const { words } = app;
  const id = verdict.record_id;
  const text = el("textarea", { id: "objection", rows: "5", maxlength: MOST_LETTERS, required: true });
  text.value = app.drafts.get(id) ?? "";
  text.addEventListener("input", () => app.drafts.set(id, text.value));
  const trouble = el("p", { class: "note bad", role: "alert", hidden: true });
  const send = el("button", { class: "main", type: "submit" }, words.t("disagree.send"));
  const said = words.t(looks(verdict.verdict).words);
  const form = el(
    "form",
    { class: "body form", novalidate: true, on: { submit } },
    el("p", {}, words.t("disagree.text", { verdict: said })),
    el("label", { for: "objection" }, words.t("disagree.label")),
    text,
    trouble,
    el("div", { class: "actions" }, button(words.t("cancel"), () => dialog.close()), send),
  );
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  const dialog = open(app, words.t("disagree.open"), form);
  text.focus();

  async function submit(event) {
    event.preventDefault();
    const reason = text.value.trim();
    if (reason === "") return complain(words.t("disagree.empty"));
    send.disabled = true;
    try {
      const tell = () => (dialog.open ? api.object(id, reason) : null);
      await app.station.persist(tell, () => complain(words.t("disagree.waits")));
      if (!dialog.open) return;
      app.drafts.delete(id);
      dialog.close();
      done();
      app.station.poke();
    } catch (error) {
      send.disabled = false;
      complain(errorText(words, error, { 409: "disagree.gone" }));
    }
  }

  function complain(sentence) {
    trouble.hidden = false;
    trouble.textContent = sentence;
    text.focus();
  }
}
