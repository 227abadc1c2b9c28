// What a deployment leaves behind about a target, without a deployment.

/** Where the store keeps a target: its partition's tag and its tenant. */
export async function spaceOf(s, target) {
  const [key] = await s.redis.keys(`{p??}:d:*:target:${target.id}`);
  const [, partition, tenant] = key.match(/^(\{p\d\d\}):d:([^:]+):/);
  return { partition, tenant };
}

/** As a job says it: the facts, and the timer that has them settled. */
export async function deployedTo(s, target, facts) {
  const { partition, tenant } = await spaceOf(s, target);
  await s.redis.command('HSET', `${partition}:ts:${tenant}`, target.id, JSON.stringify(facts));
  await s.redis.command('ZADD', `${partition}:t`, '1', `${tenant}:target:${target.id}`);
  return { partition, tenant };
}
