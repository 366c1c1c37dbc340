'use strict'
// Turns titles into the part of an address that people can read: "Crème brûlée!" becomes "creme-brulee".

const SPELLED = {
  ß: 'ss', æ: 'ae', œ: 'oe', ø: 'o', đ: 'd', ð: 'd', þ: 'th', ł: 'l', ı: 'i', '&': ' and ', '@': ' at '
}
const SPELLED_ANY = new RegExp(`[${Object.keys(SPELLED).join('')}]`, 'g')
const ACCENTS = /[\u0300-\u036f]+/g
const APOSTROPHES = /['\u2019]/g
const OTHERS = /[^\p{Letter}\p{Number}]+/gu
const SEPARATOR = /^[-_.~]?$/

function inputError (message) {
  return Object.assign(new Error(message), { error_type: 'InputError' })
}

// Text in, or {"text", "separator": "-", "max_length": 80}; the slug out, cut between words where it is too long.
exports.apply = (input, callback) => {
  const asked = typeof input === 'string' ? { text: input } : input
  const { text, separator = '-', max_length: longest = 80 } = asked || {}
  if (typeof text !== 'string') return callback(inputError('send a text, or a JSON object such as {"text": "..."}'))
  if (typeof separator !== 'string' || !SEPARATOR.test(separator)) {
    return callback(inputError('separator must be one of - _ . ~ or empty'))
  }
  if (!Number.isInteger(longest) || longest < 1) return callback(inputError('max_length must be a whole number above 0'))
  callback(null, cut(wordsOf(text), separator, longest))
}

function wordsOf (text) {
  const plain = text.toLowerCase().replace(SPELLED_ANY, (character) => SPELLED[character])
    .normalize('NFKD').replace(ACCENTS, '').normalize('NFC').replace(APOSTROPHES, '')
  return plain.split(OTHERS).filter(Boolean)
}

function cut (words, separator, longest) {
  let slug = ''
  for (const word of words) {
    const longer = slug ? slug + separator + word : word
    if (longer.length > longest) return slug || [...word].slice(0, longest).join('')
    slug = longer
  }
  return slug
}
