import assert from 'node:assert/strict';
import utils from '@open-rpc/schema-utils-js';

const document = await (await fetch(new URL('/openrpc.json', process.argv[2]))).json();
const verdict = utils.validateOpenRPCDocument(document);
assert.equal(verdict, true, verdict.message);
const parsed = await utils.parseOpenRPCDocument(structuredClone(document));
assert.equal(parsed.methods.length, document.methods.length);
assert.doesNotMatch(JSON.stringify(parsed.methods), /"\$ref"/);
