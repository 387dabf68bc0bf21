// What pages cannot do by themselves: copying, and following the log. Everything else works without this.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    const said = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      if (said) said.textContent = "Copied to the clipboard.";
    } catch {
      if (said) said.textContent = "The browser does not let this page copy; select the text instead.";
    }
  });
}

const follow = document.getElementById("follow");
if (follow) {
  const rows = document.getElementById("records");
  const said = document.getElementById("follow-news");
  const known = new Set(Array.from(rows.rows, (row) => row.dataset.id));
  const MOST = 500;
  let timer;

  const look = async () => {
    const mark = follow.dataset.rows.includes("?") ? "&" : "?";
    try {
      const answer = await fetch(follow.dataset.rows + mark + "cursor=" + encodeURIComponent(follow.dataset.cursor), {
        headers: { "X-Vicar-Follow": "1" }, redirect: "error", credentials: "same-origin",
      });
      if (!answer.ok) throw new Error(String(answer.status));
      follow.dataset.cursor = answer.headers.get("X-Vicar-Cursor") || follow.dataset.cursor;
      const page = document.createElement("tbody");
      page.innerHTML = await answer.text();
      const fresh = Array.from(page.rows).filter((row) => !known.has(row.dataset.id));
      for (const row of fresh.reverse()) {
        known.add(row.dataset.id);
        row.classList.add("new");
        rows.prepend(row);
      }
      while (rows.rows.length > MOST) rows.deleteRow(-1);
      if (fresh.length > 0) {
        document.getElementById("records-card").hidden = false;
        document.getElementById("nothing")?.remove();
        said.textContent = fresh.length + " new";
      }
      timer = setTimeout(look, 1500);
    } catch {
      stop();
      said.textContent = "Following has stopped: load the page anew.";
      said.classList.remove("hidden");
    }
  };
  const stop = () => {
    clearTimeout(timer);
    follow.setAttribute("aria-pressed", "false");
    follow.textContent = "Follow live";
  };
  follow.hidden = false;
  follow.addEventListener("click", () => {
    if (follow.getAttribute("aria-pressed") === "true") return stop();
    follow.setAttribute("aria-pressed", "true");
    follow.textContent = "Following";
    look();
  });
}
