/** The directions between folders, as rules that `npm run check` holds. Type imports count like all others. */

/** Files of core itself that stand at the rim; all others are protocol code. */
const rim = 'runtime|container|create|index|system'
const protocol = `^core/(wire|ike|ipsec|path|policy)/|^core/(?!(${rim})\\.ts$)[^/]+\\.ts$`

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Two files that load each other are one file, or share a third. Types may name each other.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'resolvable',
      comment: 'natweave itself, as its users have it, is there once it is built.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^natweave(/|$)' },
    },
    {
      name: 'wire-alone',
      comment: 'Codecs know octets and errors, nothing else.',
      severity: 'error',
      from: { path: '^core/wire/' },
      to: { pathNot: '^core/wire/|^core/errors\\.ts$' },
    },
    {
      name: 'contracts-are-pure',
      comment: 'Interfaces and tokens; only the plugin contract knows the container.',
      severity: 'error',
      from: { path: '^core/contracts/' },
      to: { pathNot: '^core/contracts/|^core/wire/|^core/errors\\.ts$|^node_modules/tsyringe/' },
    },
    {
      name: 'tsyringe-in-plugin-contract-only',
      severity: 'error',
      from: { path: '^core/contracts/', pathNot: '^core/contracts/plugin\\.ts$' },
      to: { path: '^node_modules/tsyringe/' },
    },
    ...['ike', 'ipsec', 'path', 'policy'].map(folder => ({
      name: `${folder}-directions`,
      comment: 'Protocol folders know wire, contracts and errors, and not each other: the engine joins them.',
      severity: 'error',
      from: { path: `^core/${folder}/` },
      to: { pathNot: `^core/(${folder}|wire|contracts)/|^core/(errors|nearest|wildcard)\\.ts$` },
    })),
    {
      name: 'protocol-without-rim',
      comment: 'No I/O, no injection: protocol code takes octets and a time and gives octets back.',
      severity: 'error',
      from: { path: protocol },
      to: {
        path: [
          '^node_modules/(tsyringe|reflect-metadata|zod|cosmiconfig)/',
          '^core/(cli|config)/',
          `^core/(${rim})\\.ts$`,
          '^core/contracts/plugin\\.ts$',
        ],
      },
    },
    {
      name: 'protocol-without-node',
      comment: 'The same code runs in a worker, a browser and a simulation.',
      severity: 'error',
      from: { path: protocol },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'node-at-the-rim',
      comment: 'Core touches the system in the command and the configuration only; elsewhere a plugin does.',
      severity: 'error',
      from: { path: '^core/', pathNot: '^core/(cli|config)/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'core-without-plugins',
      comment: 'The command finds plugins by name; nothing else in core may know one.',
      severity: 'error',
      from: { path: '^core/', pathNot: '^core/cli/' },
      to: { path: '^(plugins|test|examples)/' },
    },
    {
      name: 'cli-without-tests',
      comment: 'The demo runs on the published kit; no other part of the command knows it.',
      severity: 'error',
      from: { path: '^core/cli/' },
      to: { path: '^(test|examples)/', pathNot: '^test/kit/' },
    },
    {
      name: 'cli-is-a-leaf',
      severity: 'error',
      from: { pathNot: '^core/cli/|^test/' },
      to: { path: '^core/cli/' },
    },
    {
      name: 'plugins-use-public-doors',
      comment: 'A shipped plugin gets no more than a stranger does.',
      severity: 'error',
      from: { path: '^plugins/' },
      to: {
        path: '^(core|test|examples)/',
        pathNot: '^core/(index|errors|(path|wire|ipsec)/index)\\.ts$|^core/contracts/',
      },
    },
    {
      name: 'plugins-apart',
      comment: 'What two plugins share belongs in a contract.',
      severity: 'error',
      from: { path: '^plugins/([^/]+)/' },
      to: { path: '^plugins/', pathNot: '^plugins/$1/' },
    },
    {
      name: 'kit-uses-public-doors',
      severity: 'error',
      from: { path: '^test/kit/', pathNot: '\\.test\\.ts$' },
      to: {
        path: '^(core|plugins|test)/',
        pathNot: '^core/(index|errors|wire/index)\\.ts$|^core/contracts/|^test/kit/',
      },
    },
    {
      name: 'examples-use-public-doors',
      severity: 'error',
      from: { path: '^examples/' },
      to: {
        path: '^(core|plugins|test)/',
        pathNot: [
          '^core/(index|errors|(config|path|wire)/index)\\.ts$',
          '^core/contracts/',
          '^plugins/index\\.ts$',
          '^plugins/[^/]+/index\\.ts$',
          '^test/kit/index\\.ts$',
        ],
      },
    },
    {
      name: 'declared-dependencies',
      severity: 'error',
      from: { path: '^(core|plugins|test/kit)/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    exclude: { path: '^dist/' },
    doNotFollow: { path: '^node_modules/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'node', 'default'] },
  },
}
