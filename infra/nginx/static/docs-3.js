// The API reference: Swagger UI over the document that the API serves.
'use strict';

const place = document.getElementById('reference');

// Swagger UI has a dark mode by a class.
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const setMode = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', setMode);
setMode();

// Swagger UI does not name all its fields for a screen reader.
const NAMES = { 'body-param__text': 'Request body', 'examples-select-element': 'Example', 'content-type': 'Media type' };

function nameFields() {
  for (const field of place.querySelectorAll('select, textarea, input:not([type=hidden])')) {
    if (field.labels?.length || field.getAttribute('aria-label')) continue;
    const known = Object.keys(NAMES).find((name) => field.classList.contains(name));
    const parameter = field.closest('tr[data-param-name]')?.dataset.paramName;
    const other = field.type === 'file' ? 'File' : 'Value';
    field.setAttribute('aria-label', NAMES[known] || parameter || field.placeholder || other);
  }
}

// Of the dialog "Authorize".
function nameButtons() {
  place.querySelector('.close-modal:not([aria-label])')?.setAttribute('aria-label', 'Close');
  // Called by their texts, by which voice commands find them.
  for (const button of place.querySelectorAll('.modal-btn[aria-label]')) button.removeAttribute('aria-label');
}

// A long line is scrolled, by keyboard, too.
function reachCommands() {
  for (const command of place.querySelectorAll('pre.curl:not([tabindex])')) command.tabIndex = 0;
}

let due = false;
new MutationObserver(() => {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    nameFields();
    nameButtons();
    reachCommands();
  });
}).observe(place, { childList: true, subtree: true });

// The form begins with the examples of parameters. Those of optional ones would be sent unasked: a condition that fails, or a
// key that was used before. So they are only shown.
function withoutOptionalExamples(text) {
  const parsed = JSON.parse(text);
  const operations = Object.values(parsed.paths).flatMap((path) => Object.values(path));
  const parameters = [...Object.values(parsed.components?.parameters ?? {}), ...operations.flatMap((one) => one.parameters ?? [])];
  for (const parameter of parameters) {
    if (parameter.required || parameter.example === undefined) continue;
    parameter.description = `${parameter.description ?? ''} Example: \`${parameter.example}\``;
    delete parameter.example;
  }
  return JSON.stringify(parsed);
}

const plugin = (system) => ({
  statePlugins: {
    spec: { wrapActions: { updateSpec: (update) => (text) => update(withoutOptionalExamples(text)) } },
  },
  wrapComponents: {
    // A link within the button that opens an operation cannot be reached by keyboard. The address changes by the button, too.
    DeepLink: () => ({ text }) => system.React.createElement('span', null, text),
    // There is one server, this one.
    ServersContainer: () => () => null,
  },
});

// In the order of the document, the legacy paths last.
const deprecatedLast = (a, b) => Number(a.getIn(['operation', 'deprecated'], false)) - Number(b.getIn(['operation', 'deprecated'], false));

window.ui = window.SwaggerUIBundle({
  url: '/api/v1/openapi.json',
  domNode: place,
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  operationsSorter: deprecatedLast,
  syntaxHighlight: { theme: 'obsidian' },
  // No outside host: no validator of swagger.io, and no other document by a parameter of the address.
  validatorUrl: null,
  queryConfigEnabled: false,
  plugins: [plugin],
});
