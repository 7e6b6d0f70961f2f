import { openBackend, memory, profileOps } from '@fourfold/runtime';
import { MODELS } from '@fourfold/model';
import { trainingStep } from './src/step.ts';
console.log((await openBackend({device:'cpu'})).description);
const shapes = [{name:'stories15M', config:{...MODELS['stories15M']!, tied:false}, batch:4, seq:256},{name:'small', config:{layers:4,dim:128,heads:4,kvHeads:4,headDim:32,ffn:384,vocabulary:512,theta:1e4,normEpsilon:1e-5,tied:false}, batch:8, seq:128}];
for (const s of shapes) { const step=trainingStep(s,'float32'); for(let i=0;i<3;i++) await step(); const n=s.name==='small'?30:8; const ts:number[]=[]; for(let i=0;i<n;i++){const t=performance.now(); await step(); ts.push(performance.now()-t);} ts.sort((a,b)=>a-b); const ms=ts[n>>1]!; console.log(s.name, ms.toFixed(1),'ms', (s.batch*s.seq/ms*1e3).toFixed(0),'tok/s', memory());
 const t=performance.now(); const times=await profileOps(async()=>{await step();}); const total=performance.now()-t; console.log('profiled',total.toFixed(1),'ops',times.reduce((a,b)=>a+b.calls,0), 'in ops', times.reduce((a,b)=>a+b.milliseconds,0).toFixed(1)); for(const x of times.slice(0,16)) console.log('  ',x.op.padEnd(24),String(x.calls).padStart(4),x.milliseconds.toFixed(2)); }
