import { openBackend } from '@fourfold/runtime';
import { tensorflow } from '../packages/runtime/src/tensorflow.ts';
import { MODELS } from '@fourfold/model';
import { trainingStep } from './src/step.ts';
await openBackend({device:'cpu'});
const st=MODELS['stories15M']!;
const shapes = [{name:'stories15M', config:{...st, tied:false}, batch:4, seq:256},{name:'small', config:{...st,layers:4,dim:128,heads:4,kvHeads:4,headDim:32,ffn:384,vocabulary:512,tied:false}, batch:8, seq:128}];
for (const s of shapes) { const step=trainingStep(s,'float32'); for(let i=0;i<3;i++) await step();
 const be:any=tensorflow(); const b=be.binding; const m=new Map<string,number[]>();
 be.binding=Object.create(b,{executeOp:{value:(op:string,...r:any[])=>{const t=performance.now(); const o=b.executeOp(op,...r); const d=performance.now()-t; const k=op+' '+JSON.stringify(o[0]?.shape??[])+(op.includes('MatMul')?' '+r[0].map((a:any)=>a.value).join():''); (m.get(k)??m.set(k,[]).get(k)!).push(d); return o;}}});
 const n=5; const t=performance.now(); for(let i=0;i<n;i++) await step(); const tot=(performance.now()-t)/n; be.binding=b;
 const rows=[...m].map(([k,v])=>{v.sort((a,b)=>a-b); return {k,calls:v.length/n,med:v[v.length>>1]!,sum:v.reduce((a,b)=>a+b,0)/n};}).sort((a,b)=>b.sum-a.sum);
 console.log(s.name,'step',tot.toFixed(1)); for(const r of rows.slice(0,22)) console.log('  ',r.k.padEnd(60),String(r.calls).padStart(4),'med',r.med.toFixed(3),'sum',r.sum.toFixed(1));
}
