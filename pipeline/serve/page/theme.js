// Theme: a button → light, dark, or as the system has it; the choice is kept in this browser.

const THEMES = ["system", "light", "dark"];
const KEY = "streamdet-theme";

export function addTheme(button) {
  let theme = read();
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem(KEY, theme);
    } catch { /* not kept, where the browser keeps nothing */ }
    show();
  });
  show();
}

function read() {
  try {
    const theme = localStorage.getItem(KEY);
    return THEMES.includes(theme) ? theme : "system";
  } catch {
    return "system";
  }
}
