import assert from 'node:assert/strict';
import { FetchRequest, JsonRpcProvider } from 'ethers';

// It gathers what is sent in one turn of the event loop into a batch, and has no notifications.
const provider = new JsonRpcProvider(new FetchRequest(process.argv[2]), 1, { staticNetwork: true });

assert.deepEqual(await provider.send('list_runners', []), ['a']);

const batch = await Promise.all([
  provider.send('list_runners', []),
  provider.send('get_runner_status', { runner: 'nobody' }).catch((error) => error.error.code),
  provider.send('get_all_status', []).then((summary) => summary.total),
]);
assert.deepEqual(batch, [['a'], -32001, 1]);

const error = await provider.send('get_runner_status', ['nobody']).then(assert.fail, (error) => error);
assert.match(JSON.stringify(error.error ?? error.message), /runner-not-found/);
provider.destroy();
