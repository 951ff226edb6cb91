// node-redis (the npm package "redis") against the cache: what its own guide shows first.
import assert from 'node:assert/strict';
import { ask, load, run, settings, until } from './harness.mjs';

const { createClient } = load('redis');
const socket = settings.socket ? { path: settings.socket } : { host: '127.0.0.1', port: settings.port };
const options = { socket, password: settings.password, RESP: settings.protocol, name: 'node-redis-tests' };
const errors = [];

async function connect(more = {}) {
  const client = createClient({ ...options, ...more });
  client.on('error', (error) => errors.push(error));
  await client.connect();
  return client;
}

const client = await connect();
await client.flushAll();

await run({
  async connection() {
    assert.equal(await client.ping(), 'PONG');
    assert.equal(await client.ping('hello'), 'hello');
    assert.equal(await client.echo('hello'), 'hello');
    assert.equal(await client.clientGetName(), 'node-redis-tests');
    const me = await client.clientInfo();
    assert.equal(me.name, 'node-redis-tests');
    assert.equal(me.id, await client.clientId());
    assert.equal(client.isReady, true);
  },
  async 'wrong password'() {
    const wrong = createClient({ ...options, password: 'wrong', socket: { ...socket, reconnectStrategy: false } });
    wrong.on('error', () => {});
    await assert.rejects(wrong.connect(), /WRONGPASS/);
    assert.equal(wrong.isOpen, false);
  },
  async strings() {
    assert.equal(await client.set('k', 'v'), 'OK');
    assert.equal(await client.get('k'), 'v');
    assert.equal(await client.get('none'), null);
    assert.equal(await client.set('k', 'w', { condition: 'NX' }), null);
    assert.equal(await client.set('k', 'w', { expiration: { type: 'EX', value: 100 }, GET: true }), 'v');
    const ttl = await client.ttl('k');
    assert.ok(ttl > 0 && ttl <= 100, `ttl is ${ttl}`);
    assert.equal(await client.ttl('none'), -2);
    assert.equal(await client.persist('k'), 1);
    assert.equal(await client.mSet({ a: '1', b: '2' }), 'OK');
    assert.deepEqual(await client.mGet(['a', 'none', 'b']), ['1', null, '2']);
    assert.equal(await client.incrBy('a', 41), 42);
    assert.equal(await client.append('b', 'x'), 2);
    assert.equal(await client.exists(['a', 'b', 'none']), 2);
    assert.equal(await client.del(['a', 'b', 'none']), 2);
    assert.equal(await client.getDel('k'), 'w');
    assert.equal(await client.set('unicode', 'käse – 🧀'), 'OK');
    assert.equal(await client.get('unicode'), 'käse – 🧀');
  },
  async buffers() {
    const { RESP_TYPES } = load('redis');
    const bytes = Buffer.from([0, 255, 13, 10, 128]);
    await client.set('bytes', bytes);
    const typed = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    assert.deepEqual(Buffer.from(await typed.get('bytes')), bytes);
  },
  async bits() {
    assert.equal(await client.setBit('bits', 7, 1), 0);
    assert.equal(await client.getBit('bits', 7), 1);
    assert.equal(await client.bitCount('bits'), 1);
    assert.equal(await client.bitPos('bits', 1), 7);
    assert.deepEqual(
      await client.bitField('bits', [
        { operation: 'INCRBY', encoding: 'u8', offset: '#1', increment: 300 },
        { operation: 'GET', encoding: 'u8', offset: 0 },
      ]),
      [44, 1],
    );
    await client.mSet({ one: 'ohmytext', other: 'mynewtext' });
    assert.equal(await client.lcs('one', 'other'), 'mytext');
    assert.equal(await client.lcsLen('one', 'other'), 6);
  },
  async hashes() {
    assert.equal(await client.hSet('session', { user: 'ann', visits: '1' }), 2);
    assert.equal(await client.hGet('session', 'user'), 'ann');
    assert.equal(await client.hIncrBy('session', 'visits', 4), 5);
    assert.deepEqual({ ...(await client.hGetAll('session')) }, { user: 'ann', visits: '5' });
    assert.deepEqual(await client.hmGet('session', ['user', 'none']), ['ann', null]);
    const fields = [];
    for await (const entries of client.hScanIterator('session')) fields.push(...entries.map(({ field }) => field));
    assert.deepEqual(fields.sort(), ['user', 'visits']);
    assert.equal(await client.hDel('session', ['user', 'none']), 1);
    await assert.rejects(client.get('session'), /WRONGTYPE/);
  },
  async 'sets and lists'() {
    assert.equal(await client.sAdd('tags', ['a', 'b', 'c']), 3);
    assert.equal(await client.sAdd('others', ['b', 'c', 'd']), 3);
    assert.deepEqual(Array.from(await client.sInter(['tags', 'others'])).sort(), ['b', 'c']);
    assert.deepEqual(Array.from(await client.sMembers('tags')).sort(), ['a', 'b', 'c']);
    assert.equal(await client.sIsMember('tags', 'a'), 1);
    assert.equal(await client.rPush('queue', ['1', '2', '3']), 3);
    assert.deepEqual(await client.lRange('queue', 0, -1), ['1', '2', '3']);
    assert.equal(await client.lPop('queue'), '1');
    assert.equal(await client.type('queue'), 'list');
  },
  async 'commands at once'() {
    const replies = await Promise.all(Array.from({ length: 2000 }, (_, i) => client.set(`many:${i}`, String(i))));
    assert.ok(replies.every((reply) => reply === 'OK'));
    const values = await client.multi().get('many:1').get('none').get('many:1999').execAsPipeline();
    assert.deepEqual(values, ['1', null, '1999']);
  },
  async scan() {
    const found = new Set();
    for await (const keys of client.scanIterator({ MATCH: 'many:*', COUNT: 100 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 2000);
    assert.equal((await client.keys('many:19?9')).length, 10);
  },
  async errors() {
    await client.set('text', 'x');
    await assert.rejects(client.incr('text'), /value is not an integer or out of range/);
    await assert.rejects(client.sendCommand(['NOSUCH', 'a']), /unknown command 'NOSUCH'/);
    await assert.rejects(client.sendCommand(['GET']), /wrong number of arguments for 'get' command/);
    assert.equal(await client.ping(), 'PONG');
  },
  async 'information about the server'() {
    assert.match(await client.info('server'), /redis_version:7\.0\./);
    assert.ok((await client.dbSize()) > 2000);
    assert.ok((await client.commandCount()) > 80);
    assert.ok((await client.commandList()).includes('get'));
    assert.equal((await client.configGet('maxmemory-policy'))['maxmemory-policy'], 'allkeys-s3fifo');
    assert.ok((await client.memoryUsage('text')) > 32);
    assert.equal(await client.objectEncoding('text'), 'embstr');
    const [seconds] = await client.time();
    assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 60);
  },
  async 'a second connection'() {
    const other = client.duplicate();
    other.on('error', (error) => errors.push(error));
    await other.connect();
    await other.set('from other', 'x');
    assert.equal(await client.get('from other'), 'x');
    await other.close();
  },
  async 'reconnect after a restart'() {
    await client.set('before', 'restart');
    assert.deepEqual(errors, []);
    await ask('restart');
    await until(() => client.isReady);
    assert.equal(await client.get('before'), 'restart');
    assert.ok(errors.length > 0, 'the end of the connection was noticed');
  },
});
