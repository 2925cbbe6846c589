/** What scripts find in the window: Plotly, once a chart was drawn (see tools/chart.js), and what they put there themselves. */
interface Window {
  Plotly: any;
  /** Of the page and of exported files; see viewer.js and tools/board.js. */
  specvizViewer: any;
  /** Of the reports of comparisons; see tools/chart.js. */
  specvizChart: any;
}
