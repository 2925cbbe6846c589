/* The coin that would just turn a decision "uniform < threshold". */

const DIGITS = 3;

/**
 * Of three digits, on the other side of the threshold than the recorded coin; null where none in (0, 1) is.
 * @param {number} threshold
 * @param {boolean} accepted whether the recorded coin was below it
 */
export function turningCoin(threshold, accepted) {
  if (!(threshold > 0)) return null;
  const unit = 10 ** (Math.floor(Math.log10(threshold)) - DIGITS + 1), units = threshold / unit;
  // At least a tenth of a unit off: thresholds are carried with few digits.
  const count = accepted ? Math.ceil(units + 0.1) : Math.floor(units - 0.1), coin = Number((count * unit).toPrecision(DIGITS));
  return accepted ? (coin < 1 ? coin : null) : Math.min(coin, 0.999);
}
