// The runs that were started in this tab. Their ids are the key to public runs, so they are kept in memory only.

const ids = new Map();

export function rememberStarted(name, id) {
  ids.set(name, [id, ...(ids.get(name) ?? [])].slice(0, 50));
}

export function startedHere(name) {
  return ids.get(name) ?? [];
}
