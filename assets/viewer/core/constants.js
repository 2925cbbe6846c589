/* Made by `python -m tests.tools.viewer_types --write`: change it in Python. */

/** What a verifier made of a node, by letter: mark and words (specviz/figures/outcomes.py).
 * @type {Record<string, {mark: string, words: string}>} */
export const OUTCOMES = {
  "a": {
    "mark": "●",
    "words": "accepted"
  },
  "r": {
    "mark": "✕",
    "words": "rejected"
  },
  "p": {
    "mark": "○",
    "words": "passed, not chosen"
  },
  ".": {
    "mark": "·",
    "words": "not examined"
  },
  "t": {
    "mark": "–",
    "words": "not judged"
  },
  "n": {
    "mark": "–",
    "words": "not accepted, no decision recorded"
  }
};

/** What a decision compared; its column has the place (specviz/figures/node.py). */
export const COMPARISONS = ["uniform < threshold", "p > threshold", "token = drawn", "token = argmax"];

/** Powers of ten that part the shades of an audit (specviz/figures/audit.py). */
export const DECADES = [-8, -7, -6, -5, -4, -3, -2, -1];

/** Recorded for a difference that is no finite number (specviz/trace/values.py). */
export const INFINITE_DIFFERENCE = 1e+308;
