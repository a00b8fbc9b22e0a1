// Light or dark theme: that of the system unless the reader changes it.

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark now. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

/** A color of the style sheet by its name. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The theme that printing has replaced, null if it has not. */
let replaced = null;

// Paper is light.
addEventListener("beforeprint", () => {
  if (!isDark()) return;
  replaced = document.documentElement.dataset.theme ?? "";
  document.documentElement.dataset.theme = "light";
});

/** Makes `button` change the theme; calls `changed` after every change. */
export function themeButton(button, changed) {
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`);
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
    changed();
  });
  dark.addEventListener("change", () => {
    label();
    changed();
  });
  addEventListener("beforeprint", () => replaced != null && changed());
  addEventListener("afterprint", () => {
    if (replaced == null) return;
    document.documentElement.dataset.theme = replaced;
    if (replaced === "") delete document.documentElement.dataset.theme;
    replaced = null;
    changed();
  });
  label();
}
