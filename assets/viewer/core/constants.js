/* Made by `python -m tests.tools.viewer_types --write`: change it in Python. */

/** What a verifier made of a node, by letter: mark, words and card (specviz/figures/outcomes.py).
 * @type {Record<string, {mark: string, words: string, card: string}>} */
export const OUTCOMES = {
  "a": {
    "mark": "●",
    "words": "accepted",
    "card": "accepted"
  },
  "r": {
    "mark": "✕",
    "words": "rejected",
    "card": "rejected"
  },
  "p": {
    "mark": "○",
    "words": "passed, not chosen",
    "card": "passed"
  },
  ".": {
    "mark": "·",
    "words": "not examined",
    "card": "unexamined"
  },
  "t": {
    "mark": "–",
    "words": "not judged",
    "card": "passed"
  }
};

/** What a decision compared; its column has the place (specviz/figures/node.py). */
export const COMPARISONS = ["uniform < threshold", "p > threshold", "token = drawn", "token = argmax"];

/** Powers of ten that part the shades of an audit (specviz/figures/audit.py). */
export const DECADES = [-8, -7, -6, -5, -4, -3, -2, -1];

/** Recorded for a difference that is no finite number (specviz/trace/values.py). */
export const INFINITE_DIFFERENCE = 1e+308;
