/* Links and forks: the address bar says which run, step, node and verifier is looked at, and two buttons act on them.
 *
 * Only runs that the server can open again have an address: recorded ones, and those it was asked to hold. A block may
 * carry `look` ({step, node, verifier}: where to stand) and `link` ({run, name, steps, copy}: what a run is called).
 */
(function (root) {
  "use strict";
  const ns = (root.specvizViewer = root.specvizViewer || {});
  const { el } = ns.panels;

  ns.tools.push((ui, state, act, handlers) => {
    const links = new Map();
    let wanted = null, moving = false;
    // The address stays as it was typed until the reader does something, or the link in it was followed.
    const begin = () => (moving = true);
    for (const kind of ["pointerdown", "keydown"]) root.addEventListener(kind, begin, { once: true, capture: true });

    const link = el("button", { type: "button", "data-act": "link", title: "Copy a link to this step, node and verifier", onclick: share }, "Link");
    const fork = el("button", { type: "button", "data-act": "fork", title: "Run this step anew as a new run, with the settings as they are now", onclick: branch }, "Fork");
    if (handlers.ask) ui.tools.append(fork, link);

    function take(block) {
      if (block.link) {
        links.set(block.link.run, block.link);
        write();
        if (block.link.copy) copy();
      }
      if (block.look && state.run) stand(block.look);
    }

    /** Go to a step, a verifier and a node, as far as they are there. */
    function stand({ step, node, verifier }) {
      if (Number.isInteger(step) && step !== state.step) act.show(step);
      wanted = { step: state.step, node, verifier };
      moving = true;
      moved();
    }

    function moved() {
      const frame = state.frames.get(state.step);
      if (wanted && wanted.step !== state.step) wanted = null;
      if (wanted && frame) {
        const { node, verifier } = wanted;
        wanted = null;
        if (verifier && frame.tree.states[verifier] && verifier !== state.lens) act.watch(verifier);
        if (Number.isInteger(node) && node >= 0 && node < frame.tree.parent.length) act.select(node, true);
      }
      fork.disabled = link.disabled = !frame;
      write();
    }

    const named = () => {
      const known = state.run && links.get(state.run.id);
      return known && known.steps === state.run.steps ? known : null;
    };

    function address() {
      const url = new URL(root.location.href);
      for (const key of ["trace", "step", "node", "verifier"]) url.searchParams.delete(key);
      const known = named();
      if (!known) return url;
      url.searchParams.set("trace", known.name);
      url.searchParams.set("step", String(state.step + 1));
      if (state.selected !== null) url.searchParams.set("node", String(state.selected));
      if (state.lens) url.searchParams.set("verifier", state.lens);
      return url;
    }

    function write() {
      if (!handlers.ask || !moving || wanted || !state.run) return;
      const url = String(address());
      if (url !== root.location.href) root.history.replaceState(root.history.state, "", url);
    }

    function share() {
      if (named()) return copy();
      act.notice({ kind: "working", text: "Keeping this run on the server, so that the link can open it …", fraction: null });
      handlers.ask("hold", { run: state.run.id });
    }

    async function copy() {
      const url = String(address());
      try {
        await root.navigator.clipboard.writeText(url);
        act.notice({ kind: "info", text: `Link copied: ${url}` });
      } catch (refused) {
        act.notice({ kind: "info", text: `This is the link: ${url}` }); // no clipboard without https, or without leave
      }
    }

    function branch() {
      act.notice({ kind: "working", text: `Running step ${state.step + 1} anew …`, fraction: null });
      handlers.ask("fork", { run: state.run.id, step: state.step });
    }

    return { take, moved };
  });
})(window);
