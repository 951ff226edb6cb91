// ioredis against the cache: what its own guide shows first.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { ask, load, run, settings } from './harness.mjs';

const Redis = load('ioredis').default;
const where = settings.socket ? { path: settings.socket } : { host: '127.0.0.1', port: settings.port };
const options = { ...where, password: settings.password, connectionName: 'ioredis-tests', retryStrategy: () => 20 };
const client = new Redis(options);
await once(client, 'ready');
await client.flushall();

await run({
  async connection() {
    assert.equal(await client.ping(), 'PONG');
    assert.equal(await client.client('GETNAME'), 'ioredis-tests');
    assert.equal(client.status, 'ready');
  },
  async 'wrong password'() {
    const wrong = new Redis({ ...options, password: 'wrong', lazyConnect: true, retryStrategy: () => null });
    const [error] = await Promise.all([once(wrong, 'error').then(([first]) => first), wrong.connect().catch(() => {})]);
    assert.match(error.message, /WRONGPASS/);
    wrong.disconnect();
  },
  async strings() {
    assert.equal(await client.set('k', 'v'), 'OK');
    assert.equal(await client.get('k'), 'v');
    assert.equal(await client.get('none'), null);
    assert.equal(await client.set('k', 'w', 'NX'), null);
    assert.equal(await client.set('k', 'w', 'EX', 100, 'GET'), 'v');
    const ttl = await client.ttl('k');
    assert.ok(ttl > 0 && ttl <= 100, `ttl is ${ttl}`);
    assert.equal(await client.mset({ a: 1, b: 2 }), 'OK');
    assert.deepEqual(await client.mget('a', 'none', 'b'), ['1', null, '2']);
    assert.equal(await client.incrby('a', 41), 42);
    assert.equal(await client.del('a', 'b', 'none'), 2);
    assert.equal(await client.getdel('k'), 'w');
    const bytes = Buffer.from([0, 255, 13, 10, 128]);
    await client.set('bytes', bytes);
    assert.deepEqual(await client.getBuffer('bytes'), bytes);
  },
  async bits() {
    assert.equal(await client.setbit('bits', 7, 1), 0);
    assert.equal(await client.bitcount('bits'), 1);
    assert.deepEqual(await client.bitfield('bits', 'INCRBY', 'u8', '#1', 300, 'GET', 'u8', 0), [44, 1]);
    assert.equal(await client.bitop('NOT', 'turned', 'bits'), 2);
    assert.deepEqual(await client.getBuffer('turned'), Buffer.from([254, 211]));
  },
  async hashes() {
    assert.equal(await client.hset('session', { user: 'ann', visits: 1 }), 2);
    assert.equal(await client.hincrby('session', 'visits', 4), 5);
    assert.deepEqual(await client.hgetall('session'), { user: 'ann', visits: '5' });
    assert.deepEqual(await client.hmget('session', 'user', 'none'), ['ann', null]);
    const fields = [];
    for await (const entries of client.hscanStream('session')) fields.push(...entries.filter((_, i) => i % 2 === 0));
    assert.deepEqual(fields.sort(), ['user', 'visits']);
    await assert.rejects(client.get('session'), /WRONGTYPE/);
  },
  async 'sets and lists'() {
    assert.equal(await client.sadd('tags', 'a', 'b', 'c'), 3);
    assert.equal(await client.sadd('others', 'b', 'c', 'd'), 3);
    assert.deepEqual((await client.sinter('tags', 'others')).sort(), ['b', 'c']);
    assert.equal(await client.sismember('tags', 'a'), 1);
    assert.equal(await client.rpush('queue', 1, 2, 3), 3);
    assert.deepEqual(await client.lrange('queue', 0, -1), ['1', '2', '3']);
    assert.equal(await client.rpop('queue'), '3');
  },
  async pipelines() {
    const pipeline = client.pipeline();
    for (let i = 0; i < 2000; ++i) pipeline.set(`many:${i}`, i);
    pipeline.get('many:1999').incr('bytes');
    const replies = await pipeline.exec();
    assert.equal(replies.length, 2002);
    assert.ok(replies.slice(0, 2000).every(([error, reply]) => error === null && reply === 'OK'));
    assert.deepEqual(replies[2000], [null, '1999']);
    assert.match(replies[2001][0].message, /value is not an integer or out of range/);
  },
  async 'automatic pipelines'() {
    const quick = client.duplicate({ enableAutoPipelining: true });
    const values = await Promise.all(Array.from({ length: 500 }, (_, i) => quick.get(`many:${i}`)));
    assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => String(i)));
    await quick.quit();
  },
  async scan() {
    const found = new Set();
    for await (const keys of client.scanStream({ match: 'many:*', count: 100 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 2000);
  },
  async errors() {
    await client.set('text', 'x');
    await assert.rejects(client.incr('text'), /value is not an integer or out of range/);
    await assert.rejects(client.call('NOSUCH', 'a'), /unknown command 'NOSUCH'/);
    await assert.rejects(client.call('GET'), /wrong number of arguments for 'get' command/);
    await assert.rejects(client.cluster('INFO'), /cluster support disabled/);
    assert.equal(await client.ping(), 'PONG');
  },
  async 'information about the server'() {
    assert.match(await client.info(), /redis_version:7\.0\./);
    assert.equal(client.serverInfo?.redis_mode ?? 'standalone', 'standalone');
    assert.ok((await client.dbsize()) > 2000);
    assert.ok((await client.command('COUNT')) > 80);
    assert.deepEqual(await client.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'allkeys-s3fifo']);
    assert.ok((await client.memory('USAGE', 'text')) > 32);
    assert.deepEqual(await client.role(), ['master', 0, []]);
  },
  async 'reconnect after a restart'() {
    await client.set('before', 'restart');
    const closed = once(client, 'close');
    await ask('restart');
    await closed;
    // Sent while there may be no connection: ioredis keeps it until there is one.
    assert.equal(await client.get('before'), 'restart');
  },
});
