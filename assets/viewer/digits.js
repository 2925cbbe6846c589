/* How a number is written for people: the same rule as in specviz/digits.py, which a test holds it to. */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const CARRIED = 5, LEAST_EXPONENT = -3, RAISED = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, i) => [String(i), sign])) };

  /** The first `count` digits and the power of ten of the first one. */
  function rounded(value, count) {
    const [written, exponent] = Number(value.toPrecision(Math.max(CARRIED, count))).toExponential(count - 1).split("e");
    return [written.replace(".", ""), Number(exponent)];
  }

  const point = (written, place) => (written.length <= place ? written : `${written.slice(0, place)}.${written.slice(place)}`);

  /** `value` with `count` (3) significant digits: 0.349, 0.00804, below 0.001 3.89·10⁻⁴; 0 for exact zero only, 1 for
   * exact one, >0.999 for what would round to it; zeros at the end are dropped from the fourth digit on. */
  function digits(value, count = 3) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value < 0) return `−${digits(-value, count)}`;
    if (value === 0 || value === 1) return String(value);
    if (value === Infinity) return "∞";
    const [written, exponent] = rounded(value, count);
    if (value < 1 && exponent === 0) return `>0.${"9".repeat(count)}`;
    const shown = written.replace(/0+$/, "").padEnd(Math.min(count, Math.max(3, exponent + 1)), "0");
    if (exponent < LEAST_EXPONENT || exponent >= count) return `${point(shown, 1)}·10${[...String(exponent)].map((sign) => RAISED[sign]).join("")}`;
    return exponent < 0 ? `0.${"0".repeat(-exponent - 1)}${shown}` : point(shown, exponent + 1);
  }

  ns.digits = digits;
})(window);
