// The report works without this script: it names the window after the page, and makes tables sortable.
const pages = [...document.querySelectorAll(".page")];
const study = document.title;
const bundle = document.getElementById("datatables").textContent;
const loaded = import(URL.createObjectURL(new Blob([bundle], { type: "text/javascript" })));

function openPage() {
  const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  return target?.closest(".page") ?? pages[0];
}

async function sortable(page) {
  const { default: DataTable } = await loaded;
  for (const table of page.querySelectorAll("table.sortable:not([data-ready])")) {
    table.dataset.ready = "yes";
    const searchable = table.tBodies[0].rows.length > 12;
    new DataTable(table, {
      autoWidth: false, info: false, order: [], paging: false, searching: searchable,
      layout: { topStart: searchable ? "search" : null, topEnd: null, bottomStart: null, bottomEnd: null },
      language: { search: "Show rows with" },
    });
  }
}

function show() {
  const page = openPage();
  const heading = page.querySelector("h2");
  document.title = page === pages[0] ? study : `${heading.textContent.trim()} · ${study}`;
  return sortable(page);
}

async function start() {
  await show();
  document.documentElement.dataset.ready = "yes";
}

addEventListener("hashchange", () => {
  openPage().querySelector("h2").focus({ preventScroll: true });
  show();
});
start();
