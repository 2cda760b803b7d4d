"use strict";
// A served report keeps up with its file, and shows when a run is under way.
(() => {
  const mine = document.currentScript.dataset.version;
  const page = location.pathname.split("/").pop();
  let note = null, missed = 0;

  function announce(running) {
    if (running === null) {
      if (note) note.remove();
      note = null;
      return;
    }
    if (!note) {
      note = document.createElement("a");
      note.id = "streetgauge-run";
      note.href = "live";
      Object.assign(note.style, {
        position: "fixed", right: "1rem", bottom: "1rem", zIndex: 99, padding: ".5rem .9rem",
        borderRadius: ".5rem", background: "#2b5f8f", color: "#fff", font: "600 14px system-ui, sans-serif",
        textDecoration: "none", boxShadow: "0 2px 8px #0006",
      });
      document.body.append(note);
    }
    note.textContent = `A run is under way: ${running}`;
  }

  async function poll() {
    try {
      const answer = await fetch("pulse.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const pulse = await answer.json();
      missed = 0;
      if (page === "report.html" && pulse.report !== null && pulse.report !== mine) {
        location.reload();
        return;
      }
      announce(pulse.running);
    } catch (error) {
      missed += 1;
      announce(null);
    }
    if (missed < 10) setTimeout(poll, 2000);
  }
  setTimeout(poll, 1000);
})();
