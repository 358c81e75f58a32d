// The table of contents: beside the page where there is room, else a bar that unfolds.
const contents = document.querySelector("#contents details"), beside = matchMedia("(min-width: 1180px)");
const fold_contents = () => { contents.open = beside.matches; };
beside.addEventListener("change", fold_contents);
contents.addEventListener("click", event => { if (event.target.closest("a") && !beside.matches) contents.open = false; });
contents.addEventListener("keydown", event => { if (event.key === "Escape" && !beside.matches) contents.open = false; });
fold_contents();
