// The launch form, with the magic and the boto3 code that do the same beside it.

import { bytes, button, h } from "./dom.js";
import { cancelButton, codeBlock, openDialog } from "./dialogs.js";

let lists = 0;

class LaunchForm {
  constructor(context, form) {
    this.context = context;
    this.store = context.store;
    this.start = form;
    lists += 1;
    this.list = `ob-images-${lists}`;
    this.images = h("datalist", { id: this.list });
    this.types = h("datalist", { id: `${this.list}-types` });
    this.keys = h("datalist", { id: `${this.list}-keys` });
    this.groups = h("datalist", { id: `${this.list}-groups` });
    this.typeHint = h("span", { class: "ob-hint" });
    this.imageHint = h("span", { class: "ob-hint" });
    this.fields = {
      name: this.field("text", { placeholder: "web" }),
      image: this.field("text", { list: this.list, placeholder: "the default image" }),
      type: this.field("text", { list: this.types.id, placeholder: "t3.micro" }),
      count: this.field("number", { min: "1", max: "1000", value: "1" }),
      key: this.field("text", { list: this.keys.id, placeholder: "no key pair" }),
      groups: this.field("text", { list: this.groups.id, placeholder: "default" }),
      ports: this.field("text", { placeholder: "80, 8080:8000" }),
      volumes: this.field("text", { placeholder: "GiB, such as 20, or /dev/sdg=20" }),
      tags: this.field("text", { placeholder: "Env=dev, Team=data" }),
      user_data: h("textarea", { class: "ob-input", rows: "4", spellcheck: "false", placeholder: "#!/bin/sh", oninput: () => this.changed() }),
      backed: h("input", { type: "checkbox", onchange: () => this.changed() }),
    };
    this.fields.backed.checked = form.backed ?? true;
    for (const [name, value] of Object.entries(form)) if (name !== "backed" && this.fields[name]) this.fields[name].value = value;
    this.magic = codeBlock("%ec2", "");
    this.boto3 = codeBlock("boto3", "");
    this.wrong = h("p", { class: "ob-bad ob-form-error", role: "alert" });
    this.node = h("div", { class: "ob-launch" }, this.form(), h("div", { class: "ob-same" },
      h("div", { class: "ob-faint" }, "The same in a cell"), this.magic.node, h("div", { class: "ob-faint" }, "and in Python"), this.boto3.node));
    this.load();
    this.preview();
  }

  field(type, attributes) {
    return h("input", { type, class: "ob-input", autocomplete: "off", spellcheck: "false", oninput: () => this.changed(), ...attributes });
  }

  form() {
    const row = (label, field, hint = null) => h("label", { class: "ob-field" }, h("span", {}, label), field, hint);
    const f = this.fields;
    return h("div", { class: "ob-form" }, this.images, this.types, this.keys, this.groups,
      row("Name", f.name), row("Image", f.image, this.imageHint), row("Type", f.type, this.typeHint), row("Count", f.count),
      row("Ports", f.ports), row("Key pair", f.key), row("Security groups", f.groups), row("Volumes", f.volumes),
      row("Tags", f.tags), row("User data", f.user_data),
      h("label", { class: "ob-label" }, f.backed, "with a container (else only the record)"));
  }

  values() {
    const values = {};
    for (const [name, field] of Object.entries(this.fields)) values[name] = name === "backed" ? field.checked : field.value;
    return values;
  }

  async load() {
    try {
      const { images, types, keys, groups } = await this.store.request("choices");
      const option = (value, words) => h("option", { value }, words);
      this.known = { images, types };
      this.images.replaceChildren(...images.map((image) => option(image.image_id || image.image, `${image.image} — ${image.name}${image.local ? ", here" : ""}`)));
      this.types.replaceChildren(...types.map((type) => option(type.name, typeWords(type))));
      this.keys.replaceChildren(...keys.map((key) => option(key, key)));
      this.groups.replaceChildren(...groups.map((group) => option(group, group)));
      this.hints();
    } catch (error) {
      this.wrong.textContent = error.message;
    }
  }

  hints() {
    if (!this.known) return;
    const wanted = this.fields.type.value.trim() || "t3.micro";
    const type = this.known.types.find((one) => one.name === wanted);
    this.typeHint.textContent = type ? typeWords(type) : "";
    const named = this.fields.image.value.trim();
    const image = this.known.images.find((one) => (one.image_id || one.image) === named || (!named && one.name === "(default)"));
    this.imageHint.textContent = image ? `${image.image}${image.local ? ", is on this machine" : ", would be pulled"}` : "";
  }

  changed() {
    this.hints();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), 120);
  }

  async preview() {
    const turn = (this.turn = (this.turn || 0) + 1);
    try {
      const { magic, boto3 } = await this.store.request("preview", { form: this.values() });
      if (turn !== this.turn) return;
      this.magic.set(magic);
      this.boto3.set(boto3);
      this.wrong.textContent = "";
    } catch (error) {
      if (turn === this.turn) this.wrong.textContent = error.message;
    }
  }

  async launch(dialog, go) {
    go.disabled = true;
    go.lastChild.textContent = "Launching…";
    this.wrong.textContent = "";
    try {
      await this.store.request("launch", { form: this.values() });
      dialog.close("done");
    } catch (error) {
      this.wrong.textContent = error.message;
    }
    go.disabled = false;
    go.lastChild.textContent = "Launch";
  }
}

function typeWords(type) {
  return `${type.vcpus} vCPU, ${bytes(type.memory_mib * 1024 * 1024)}`;
}

export async function openLaunch(context, form = {}, title = "Launch instances") {
  const launch = new LaunchForm(context, form);
  await openDialog(context.root, title, [launch.node, launch.wrong], (dialog) => {
    const go = button("Launch", () => launch.launch(dialog, go), { kind: "ob-primary", "data-answer": "launch" });
    return [cancelButton(dialog), go];
  }, { wide: true });
  clearTimeout(launch.timer);
}
