// The dashboard's figures, as a stream tells them.

/** What the stream has told of the figures so far: the last snapshot and every change behind it. */
export function figures(stream) {
  let now;
  for (const frame of stream.frames) {
    if (frame.type === 'snapshot') now = structuredClone(frame.data);
    if (frame.type !== 'metrics_updated') continue;
    for (const group of ['releaseOperations', 'deployments', 'runs', 'estate']) if (frame[group]) Object.assign((now[group] ??= {}), frame[group]);
    for (const card of frame.environments ?? [])
      now.environments = [...now.environments.filter((e) => e.environmentId !== card.environmentId), card];
    now.environments = now.environments.filter((e) => !(frame.removedEnvironments ?? []).includes(e.environmentId));
  }
  return now;
}
