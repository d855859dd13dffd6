// Each button asks one endpoint and shows the answer, whatever it is.
for (const button of document.querySelectorAll("button[data-path]")) {
  button.addEventListener("click", async () => {
    const { method, path } = button.dataset;
    const answer = document.getElementById("answer");
    try {
      const response = await fetch(path, { method, headers: { Accept: "application/json" } });
      answer.textContent = `${method} ${path}: ${response.status}\n${await response.text()}`;
    } catch (error) {
      answer.textContent = `${method} ${path}: ${error}`;
    }
  });
}
