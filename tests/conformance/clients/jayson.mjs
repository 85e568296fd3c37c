import assert from 'node:assert/strict';
import { promisify } from 'node:util';
import jayson from 'jayson';

const url = new URL(process.argv[2]);
const client = jayson.Client.http({ hostname: url.hostname, port: url.port });
const request = promisify(client.request.bind(client));

assert.deepEqual((await request('list_runners', [])).result, ['a']);

const batch = await request([
  client.request('list_runners', [], undefined, false),
  client.request('get_runner_status', { runner: 'nobody' }, undefined, false),
]);
assert.deepEqual(batch.map((answer) => answer.result ?? answer.error.code), [['a'], -32001]);

assert.equal(await request('list_runners', [], null), undefined);

const { error } = await request('no_such_method', []);
assert.equal(error.code, -32601);
