/* The report of a comparison, which calls this for each of its charts (specviz/compare/report/html_report.py). */

import { drawChart } from "./tools/chart.js";

window.specvizChart = drawChart;
