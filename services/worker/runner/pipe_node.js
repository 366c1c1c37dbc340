'use strict'
// Serves a JavaScript algorithm over the pipe protocol: `node pipe_node.js NAME` in the algorithm's root.
// The algorithm is `src/NAME.js` with `exports.apply = (input, callback)`, where callback takes an error and
// a result; an apply that declares one parameter returns its result or a promise of it. Buffers are binary.

const fs = require('fs')
const path = require('path')
const readline = require('readline')

const READY = 'PIPE_INIT_COMPLETE'
const pipe = process.env.CONSTELLATION_PIPE || '/tmp/algoout'

function loadApply (name) {
  const file = path.resolve('src', `${name}.js`)
  if (!fs.existsSync(file)) throw new Error(`there is no src/${name}.js in the algorithm's repository`)
  const apply = require(file).apply
  if (typeof apply !== 'function') {
    throw new Error(`src/${name}.js exports no apply function: write exports.apply = (input, callback) => ...`)
  }
  return apply
}

function inputOf (request) {
  return request.content_type === 'binary' ? Buffer.from(request.data, 'base64') : request.data
}

// Throws for what JSON cannot hold; JSON.stringify would turn some of it into null without a word.
function answerOf (result) {
  if (result === undefined) result = null
  if (result instanceof Uint8Array || result instanceof ArrayBuffer) {
    const data = Buffer.from(result.buffer || result, result.byteOffset || 0, result.byteLength).toString('base64')
    return JSON.stringify({ result: data, metadata: { content_type: 'binary' } })
  }
  const kind = typeof result === 'string' ? 'text' : 'json'
  return JSON.stringify({ result, metadata: { content_type: kind } }, (key, value) => {
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new TypeError('the result holds NaN or Infinity, which JSON cannot carry')
    }
    if (typeof value === 'function' || typeof value === 'symbol') {
      throw new TypeError(`the result cannot be written as JSON: it holds a ${typeof value}`)
    }
    return value
  })
}

function failureOf (error) {
  const isError = error instanceof Error
  const message = isError ? error.message : typeof error === 'string' ? error : JSON.stringify(error)
  const type = error && (error.error_type || error.errorType)
  return JSON.stringify({
    error: {
      message: String(message),
      stacktrace: isError ? String(error.stack) : '',
      error_type: typeof type === 'string' ? type : 'AlgorithmError'
    }
  })
}

function run (apply, input) {
  return new Promise((resolve, reject) => {
    if (apply.length < 2) {
      resolve(apply(input))
      return
    }
    const returned = apply(input, (error, result) => error ? reject(error) : resolve(result))
    // An async apply may answer either way. One that returned nothing will call back, or has done so.
    if (returned && typeof returned.then === 'function') {
      returned.then((result) => { if (result !== undefined) resolve(result) }, reject)
    }
  })
}

async function serve (apply) {
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity })
  console.log(READY)
  for await (const line of lines) {
    let answer
    try {
      answer = answerOf(await run(apply, inputOf(JSON.parse(line))))
    } catch (error) {
      answer = failureOf(error)
    }
    fs.writeFileSync(pipe, answer + '\n')
  }
  process.exit(0)
}

serve(loadApply(process.argv[2]))
